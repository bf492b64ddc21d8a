package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mountPoints are the places where something is mounted, in the order of mounting.
func mountPoints() ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("reading mounts: %w", err)
	}
	return parseMountPoints(string(data)), nil
}

func parseMountPoints(mountinfo string) []string {
	var out []string
	for line := range strings.Lines(mountinfo) {
		if f := strings.Fields(line); len(f) > 4 {
			out = append(out, unescape(f[4]))
		}
	}
	return out
}

// unescape undoes the octal escapes that the kernel writes for white space in paths.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func isMountPoint(dir string) (bool, error) {
	points, err := mountPoints()
	return slices.Contains(points, filepath.Clean(dir)), err
}

// UnmountBelow unmounts everything at or below a folder, the last mounted first.
func UnmountBelow(dir string) error {
	points, err := mountPoints()
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range slices.Backward(points) {
		if p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/") {
			if err := unix.Unmount(p, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("unmounting %s: %w", p, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Bind mounts one folder or file at the place of another.
func Bind(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", from, to, err)
	}
	return nil
}

// Tmpfs mounts a file system in memory.
func Tmpfs(dir string) error {
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mounting a tmpfs at %s: %w", dir, err)
	}
	return nil
}

// Keeper holds folders open so that they can be put back after mounts have hidden them.
type Keeper struct{ dirs []*os.File }

// Keep opens the folders; those that do not exist are left out.
func Keep(dirs ...string) (*Keeper, error) {
	k := &Keeper{}
	for _, d := range dirs {
		f, err := os.Open(d)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			k.Close()
			return nil, fmt.Errorf("opening %s: %w", d, err)
		}
		k.dirs = append(k.dirs, f)
	}
	return k, nil
}

// Restore mounts every folder that is not at its place any more there again.
func (k *Keeper) Restore() error {
	for _, f := range k.dirs {
		want, err := f.Stat()
		if err != nil {
			return err
		}
		if got, err := os.Stat(f.Name()); err == nil && os.SameFile(want, got) {
			continue
		}
		if err := os.MkdirAll(f.Name(), 0o755); err != nil {
			return fmt.Errorf("making %s again: %w", f.Name(), err)
		}
		if err := Bind(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), f.Name()); err != nil {
			return err
		}
	}
	return nil
}

// Close lets go of the folders.
func (k *Keeper) Close() {
	for _, f := range k.dirs {
		_ = f.Close()
	}
}

// IsOverlay says whether a folder is on an overlay file system, on which containers' own overlays cannot be.
func IsOverlay(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Type == unix.OVERLAYFS_SUPER_MAGIC
}
