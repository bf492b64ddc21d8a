package image

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"fairlead.dev/fairlead/internal/local/cache"
	"fairlead.dev/fairlead/internal/local/hostpkg"
)

// Debian is an image of Debian packages.
type Debian struct {
	// Name is what --image takes. Ref is the image's full name.
	Name, Ref string
	// Packages are installed with what they depend on, and nothing that they only recommend.
	Packages []string
}

// suite is the Debian release that the images are made of.
const suite = "bookworm"

var python = []string{"bash", "ca-certificates", "libopenblas0-pthread", "python3", "python3-joblib", "python3-sklearn"}

// DebianImages are the images that can be made.
func DebianImages() []Debian {
	return []Debian{
		{Name: "python-ml", Ref: "docker.io/fairlead/python-ml:" + suite, Packages: python},
		{Name: "python-torch", Ref: "docker.io/fairlead/python-torch:" + suite, Packages: append(slices.Clone(python), "python3-torch")},
	}
}

// FindDebian finds an image by its name or its reference, with or without docker.io/.
func FindDebian(name string) (Debian, error) {
	var names []string
	for _, d := range DebianImages() {
		if name == d.Name || name == d.Ref || "docker.io/"+name == d.Ref {
			return d, nil
		}
		names = append(names, d.Name)
	}
	return Debian{}, fmt.Errorf("image %q: want one of %s, or the path of an image archive", name, strings.Join(names, ", "))
}

// rootfsScript is what mmdebstrap is told besides the packages; it is part of the image's key. scipy depends on a
// compiler (500 MB with its headers) that it needs only to compile; a package that stands for it keeps it out.
//
// What usrmerge would do afterwards with the help of all of Perl is done before the first package is unpacked.
var rootfsScript = []string{
	"--variant=minbase", "--aptopt=APT::Install-Recommends \"false\"", "--dpkgopt=force-unsafe-io",
	"--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
	"--dpkgopt=path-exclude=/usr/share/info/*", "--dpkgopt=path-exclude=/usr/share/lintian/*",
	`--customize-hook=find "$1/usr/lib/python3/dist-packages" -type d -name tests -prune -exec rm -r {} +`,
	"--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", "--include=usr-is-merged", "--format=tar",
}

const standIn = `Package: fairlead-no-compiler
Version: 1
Architecture: all
Maintainer: Fairlead <noreply@fairlead.dev>
Provides: python3-pythran
Description: stands for the compiler that scipy needs only to compile
`

func (d Debian) key() string {
	packages := slices.Clone(d.Packages)
	slices.Sort(packages)
	return cache.NewKey().Add("version", packVersion).Add("suite", suite).Add("packages", strings.Join(packages, " ")).Add("ref", d.Ref).
		Add("script", strings.Join(rootfsScript, "\n")+standIn).Add("arch", runtime.GOARCH).String()
}

// Cached returns the image's archive if it has been made before.
func (d Debian) Cached(cacheDir string) (Archive, bool) {
	a, err := load(filepath.Join(cacheDir, kind(d.Ref), d.key()))
	return a, err == nil
}

// Make returns the image's archive, making it first if needed (about a minute, as root on a machine with mmdebstrap).
func (d Debian) Make(ctx context.Context, cacheDir string) (Archive, bool, error) {
	dir, hit, err := cache.Ensure(ctx, cacheDir, kind(d.Ref), d.key(), d.build)
	if err != nil {
		return Archive{}, false, fmt.Errorf("making image %s: %w", d.Ref, err)
	}
	a, err := load(dir)
	return a, hit, err
}

func (d Debian) build(ctx context.Context, dir string) error {
	rootfs := filepath.Join(dir, "rootfs.tar")
	defer os.Remove(rootfs)
	// apt wants the package at the same place inside and outside; a short one below /tmp leaves no trace in the image.
	tmp, err := os.MkdirTemp("/tmp", "fairlead-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	deb, err := makeStandIn(ctx, tmp)
	if err != nil {
		return err
	}
	args := append(slices.Clone(rootfsScript), "--include="+strings.Join(append(slices.Clone(d.Packages), deb), ","),
		fmt.Sprintf(`--setup-hook=mkdir -p "$1%s" && cp %s "$1%s/"`, tmp, deb, tmp), fmt.Sprintf(`--customize-hook=rm -r "$1%s"`, tmp))
	args = append(args, aptProxy(ctx)...)
	args = append(args, suite, rootfs)
	if m := os.Getenv("FAIRLEAD_DEBIAN_MIRROR"); m != "" {
		args = append(args, m)
	}
	if err := run(ctx, dir, hostpkg.Path("mmdebstrap"), args...); err != nil {
		return err
	}
	config := v1.Config{Cmd: []string{"python3"}, Env: []string{pathEnv, "LANG=C.UTF-8"}, WorkingDir: "/"}
	return packLayer(dir, d.Ref, rootfs, config)
}

func makeStandIn(ctx context.Context, dir string) (string, error) {
	src := filepath.Join(dir, "stand-in")
	defer os.RemoveAll(src)
	if err := os.MkdirAll(filepath.Join(src, "DEBIAN"), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(src, "DEBIAN", "control"), []byte(standIn), 0o644); err != nil {
		return "", err
	}
	deb := filepath.Join(dir, "fairlead-no-compiler.deb")
	return deb, run(ctx, dir, "dpkg-deb", "--root-owner-group", "--build", src, deb)
}

// aptProxy is how this machine's apt reaches mirrors; mmdebstrap does not look there.
func aptProxy(ctx context.Context) []string {
	out, err := exec.CommandContext(ctx, "apt-config", "dump", "--format", "%f=%v%n", "Acquire::http::Proxy").Output()
	_, proxy, ok := strings.Cut(strings.TrimSpace(string(out)), "=")
	if err != nil || !ok || proxy == "" || strings.ContainsAny(proxy, "\"\n") {
		return nil
	}
	return []string{fmt.Sprintf("--aptopt=Acquire::http::Proxy %q", proxy)}
}

func run(ctx context.Context, dir, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", epoch.Unix()), "LC_ALL=C", "TMPDIR="+dir)
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s: %w: %s", filepath.Base(program), err, worst(text.String()))
	}
	return nil
}

// worst takes the lines of a program's output that say what went wrong: those marked as errors, else the last ones.
func worst(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	marked := slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.HasPrefix(l, "E:") })
	if len(marked) > 0 {
		return strings.Join(marked[:min(8, len(marked))], "\n")
	}
	return strings.Join(lines[max(0, len(lines)-8):], "\n")
}
