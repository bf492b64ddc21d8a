// Package hostpkg checks that the machine has the programs that the local cluster takes from the distribution, and
// installs what is missing where it can (as root on Debian and Ubuntu).
package hostpkg

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Need is a file that must be there and the Debian package that brings it. A File without a slash is a program.
type Need struct{ File, Package string }

// CNIDir is where Debian puts the plugins of package containernetworking-plugins.
const CNIDir = "/usr/lib/cni"

// Run is what `fairlead up` needs.
func Run() []Need {
	return []Need{
		{"runc", "runc"},
		{CNIDir + "/bridge", "containernetworking-plugins"},
		{CNIDir + "/host-local", "containernetworking-plugins"},
		{CNIDir + "/portmap", "containernetworking-plugins"},
		{"iptables", "iptables"},
		{"nft", "nftables"},
		{"conntrack", "conntrack"},
		{"ethtool", "ethtool"},
		{"ip", "iproute2"},
		{"mount", "mount"},
	}
}

// Images is what making images of Debian packages needs.
func Images() []Need {
	return []Need{
		{"mmdebstrap", "mmdebstrap"},
		{"dpkg-deb", "dpkg"},
		{"/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"},
	}
}

// Host is the machine; its fields are replaced in tests. The zero value is not usable; take ThisHost.
type Host struct {
	OS      string
	UID     int
	Exists  func(file string) bool
	Release func() string
	Install func(ctx context.Context, packages []string, out io.Writer) error
}

// ThisHost is the machine this process runs on.
func ThisHost() Host {
	return Host{OS: runtime.GOOS, UID: os.Getuid(), Exists: exists, Release: release, Install: aptInstall}
}

// Missing are the packages that bring what is not there, in the order of needs.
func (h Host) Missing(needs []Need) []string {
	var out []string
	for _, n := range needs {
		if !h.Exists(n.File) && !slices.Contains(out, n.Package) {
			out = append(out, n.Package)
		}
	}
	return out
}

// otherWay ends every message about a machine that cannot run the cluster.
const otherWay = "a cluster you have works on any machine: fairlead up --kubeconfig PATH"

// Ensure installs what is missing and says so on out. The error says what is missing, why it was not installed, and what
// else works.
func (h Host) Ensure(ctx context.Context, needs []Need, out io.Writer) error {
	if h.OS != "linux" {
		return fmt.Errorf("the local cluster needs Linux, this is %s; %s", h.OS, otherWay)
	}
	missing := h.Missing(needs)
	if h.UID != 0 {
		if len(missing) > 0 {
			return fmt.Errorf("the local cluster needs root, and these packages: %s; run `sudo fairlead up`, which installs them; %s",
				strings.Join(missing, " "), otherWay)
		}
		return fmt.Errorf("the local cluster needs root: run `sudo fairlead up`; %s", otherWay)
	}
	if len(missing) == 0 {
		return nil
	}
	if !debianLike(h.Release()) {
		return fmt.Errorf("the local cluster needs what Debian calls %s, and this is not Debian or Ubuntu: install them with "+
			"your package manager (CNI plugins in %s); %s", strings.Join(missing, " "), CNIDir, otherWay)
	}
	fmt.Fprintf(out, "Installing Debian packages: %s\n", strings.Join(missing, " "))
	if err := h.Install(ctx, missing, out); err != nil {
		return fmt.Errorf("installing %s: %w; %s", strings.Join(missing, " "), err, otherWay)
	}
	if still := h.Missing(needs); len(still) > 0 {
		return fmt.Errorf("after installing, these packages are still not usable: %s; %s", strings.Join(still, " "), otherWay)
	}
	return nil
}

func debianLike(release string) bool {
	for line := range strings.Lines(release) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if key == "ID" || key == "ID_LIKE" {
			for _, id := range strings.Fields(strings.Trim(value, `"`)) {
				if id == "debian" || id == "ubuntu" {
					return true
				}
			}
		}
	}
	return false
}

func exists(file string) bool {
	if strings.Contains(file, "/") {
		_, err := os.Stat(file)
		return err == nil
	}
	return Path(file) != ""
}

// Path finds a program in PATH or in the system folders that a user's PATH often lacks; "" when it is nowhere.
func Path(program string) string {
	if p, err := exec.LookPath(program); err == nil {
		return p
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"} {
		if info, err := os.Stat(filepath.Join(dir, program)); err == nil && info.Mode()&0o111 != 0 {
			return filepath.Join(dir, program)
		}
	}
	return ""
}

func release() string {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return ""
	}
	return string(data)
}

// aptInstall updates the package lists only when installing without that fails, which is most often not needed.
func aptInstall(ctx context.Context, packages []string, out io.Writer) error {
	install := append([]string{"install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"}, packages...)
	if _, err := apt(ctx, install); err == nil {
		return nil
	}
	fmt.Fprintln(out, "Updating the lists of packages")
	if text, err := apt(ctx, []string{"update"}); err != nil {
		return fmt.Errorf("apt-get update: %w: %s", err, text)
	}
	if text, err := apt(ctx, install); err != nil {
		return fmt.Errorf("apt-get install: %w: %s", err, text)
	}
	return nil
}

func apt(ctx context.Context, args []string) (string, error) {
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	err := cmd.Run()
	lines := strings.Split(strings.TrimSpace(text.String()), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n"), err
}
