package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hierarchy is one mounted cgroup tree: the unified one, or one of version 1 with its controllers.
type hierarchy struct {
	dir     string
	options []string // of version 1: the controllers, or name=…
	unified bool
}

// parseHierarchies reads the cgroup mounts out of mountinfo. A tree that is mounted twice counts once.
func parseHierarchies(mountinfo string) []hierarchy {
	var out []hierarchy
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(strings.TrimSpace(line), " - ")
		b, a := strings.Fields(before), strings.Fields(after)
		if !ok || len(b) < 5 || len(a) < 3 || b[3] != "/" {
			continue
		}
		h := hierarchy{dir: unescape(b[4]), options: strings.Split(a[2], ","), unified: a[0] == "cgroup2"}
		if a[0] != "cgroup" && !h.unified || slices.ContainsFunc(out, func(o hierarchy) bool {
			return o.unified == h.unified && (h.unified || slices.Equal(o.options, h.options))
		}) {
			continue
		}
		out = append(out, h)
	}
	return out
}

func hierarchies() ([]hierarchy, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("reading mounts: %w", err)
	}
	found := parseHierarchies(string(data))
	if len(found) == 0 {
		return nil, errors.New("no cgroup file system is mounted: mount one at /sys/fs/cgroup, as systemd does")
	}
	return found, nil
}

// MakeCgroups makes the cluster's cgroup with one child for its own parts and one for each node, in every hierarchy.
func (s Scope) MakeCgroups(nodes int) error {
	found, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range found {
		paths := []string{s.Name(), s.Name() + "/parts"}
		for i := range nodes {
			paths = append(paths, strings.TrimPrefix(s.NodeCgroup(i), "/"))
		}
		for _, p := range paths {
			if err := h.makeCgroup(p); err != nil {
				return fmt.Errorf("making cgroup %s in %s: %w", p, h.dir, err)
			}
		}
	}
	return nil
}

func (h hierarchy) makeCgroup(path string) error {
	dir := filepath.Join(h.dir, path)
	if h.unified {
		// Controllers reach a child only when its parent passes them on; one that the kernel lacks is no error.
		for _, c := range []string{"cpu", "cpuset", "io", "memory", "pids", "hugetlb"} {
			_ = os.WriteFile(filepath.Join(filepath.Dir(dir), "cgroup.subtree_control"), []byte("+"+c), 0o644)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if slices.Contains(h.options, "cpuset") && !h.unified {
		return inheritCpuset(dir)
	}
	return nil
}

// inheritCpuset copies what version 1 leaves empty in a new group and without which no process can enter it.
func inheritCpuset(dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(own)) != "" {
			continue
		}
		parent, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), parent, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// JoinParts moves the calling process, and so all that it starts later, to the cgroup of the cluster's parts in the
// trees that only count processes, by which they are found again when the cluster is taken down.
func (s Scope) JoinParts() error {
	found, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range found {
		if !h.unified && !slices.Contains(h.options, "freezer") {
			continue
		}
		file := filepath.Join(h.dir, s.Name(), "parts", "cgroup.procs")
		if err := os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
			return fmt.Errorf("joining the cluster's cgroup: %w", err)
		}
	}
	return nil
}

// Processes are all processes of the cluster: its parts and the containers of its pods.
func (s Scope) Processes() ([]int, error) {
	found, err := hierarchies()
	if err != nil {
		return nil, err
	}
	seen := map[int]bool{}
	for _, h := range found {
		_ = filepath.WalkDir(filepath.Join(h.dir, s.Name()), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Name() != "cgroup.procs" {
				return nil // a group that is gone by now has no processes
			}
			data, _ := os.ReadFile(path)
			for _, f := range strings.Fields(string(data)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
					seen[pid] = true
				}
			}
			return nil
		})
	}
	out := make([]int, 0, len(seen))
	for pid := range seen {
		out = append(out, pid)
	}
	slices.Sort(out)
	return out, nil
}

// KillAll kills every process of the cluster but the caller, and waits until they are gone.
func (s Scope) KillAll(ctx context.Context) error {
	for {
		pids, err := s.Processes()
		if err != nil {
			return err
		}
		pids = slices.DeleteFunc(pids, func(p int) bool { return p == os.Getpid() })
		if len(pids) == 0 {
			return nil
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("killing process %d: %w", pid, err)
			}
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("waiting for processes %v to end: %w", pids, err)
		}
	}
}

// RemoveCgroups removes the cluster's cgroups. The kernel may hold on to a group for a moment after its last process.
func (s Scope) RemoveCgroups(ctx context.Context) error {
	found, err := hierarchies()
	if err != nil {
		return err
	}
	for _, h := range found {
		root := filepath.Join(h.dir, s.Name())
		for {
			err := removeTree(root)
			if err == nil {
				break
			}
			if perr := pause(ctx, 20*time.Millisecond); perr != nil {
				return fmt.Errorf("removing cgroup %s: %w", root, err)
			}
		}
	}
	return nil
}

func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
