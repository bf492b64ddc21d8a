//go:build cluster

package local

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/local/kernel"
)

// machine is what of the machine a cluster could leave something in: a kind of thing to its names.
type machine map[string][]string

func lookAt(t *testing.T, folder string) machine {
	t.Helper()
	m := machine{
		"mounts":     column("/proc/self/mountinfo", 4),
		"links":      list("/sys/class/net"),
		"namespaces": list("/run/netns"),
		"routes":     lines("ip", "route"),
		"nftables":   lines("nft", "list", "tables"),
		"iptables":   lines("iptables-save"),
		"settings":   nil,
		"files":      slices.Concat(list("/opt"), list("/run"), list("/var/lib"), list("/var/log"), list("/etc")),
	}
	scope := kernel.ScopeOf(folder)
	for kind := range m {
		m[kind] = slices.DeleteFunc(m[kind], func(x string) bool { return foreign(x, scope, folder) })
	}
	for name, value := range kernel.Sysctls() {
		m["settings"] = append(m["settings"], name+"="+value)
	}
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, scope.Name()) {
			m["cgroups"] = append(m["cgroups"], path)
		}
		return nil
	})
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		data, _ := os.ReadFile(p)
		if text := strings.ReplaceAll(string(data), "\x00", " "); strings.Contains(text, folder) {
			m["processes"] = append(m["processes"], text)
		}
	}
	return m
}

// foreign says whether something belongs to another local cluster of this machine, which may come and go meanwhile.
func foreign(x string, scope kernel.Scope, folder string) bool {
	ours := strings.Contains(x, scope.HostLink()) || strings.Contains(x, scope.Name()) || strings.Contains(x, scope.Table()) || strings.Contains(x, folder)
	return !ours && (strings.Contains(x, "fl-") || strings.Contains(x, "fairlead"))
}

// others says whether another local cluster runs; the machine's settings are then its business too.
func others() bool {
	return slices.ContainsFunc(list("/sys/class/net"), func(x string) bool { return strings.HasPrefix(filepath.Base(x), "fl-") })
}

// same fails the test for everything that came or went.
func (m machine) same(t *testing.T, now machine) {
	t.Helper()
	for kind := range now {
		if kind == "settings" && others() {
			t.Log("another local cluster runs: the machine's settings are not compared")
			continue
		}
		for _, x := range now[kind] {
			if !slices.Contains(m[kind], x) {
				t.Errorf("%s: left behind: %s", kind, x)
			}
		}
		for _, x := range m[kind] {
			if !slices.Contains(now[kind], x) {
				t.Errorf("%s: gone: %s", kind, x)
			}
		}
	}
}

func list(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var out []string
	for _, e := range entries {
		out = append(out, filepath.Join(dir, e.Name()))
	}
	return out
}

func lines(program string, args ...string) []string {
	out, _ := exec.Command(program, args...).Output()
	return slices.DeleteFunc(strings.Split(string(out), "\n"), func(l string) bool { return strings.HasPrefix(l, "#") })
}

func column(file string, n int) []string {
	data, _ := os.ReadFile(file)
	var out []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > n {
			out = append(out, f[n])
		}
	}
	return out
}

// isSupervisor says whether a process is this program as a supervisor.
func isSupervisor(pid int) bool {
	data, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return strings.Contains(string(data), "\x00local-supervisor\x00")
}
