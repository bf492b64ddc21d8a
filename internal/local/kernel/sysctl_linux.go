package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// globals are the settings of the whole machine that the kubelet or Build changes.
var globals = []string{
	ipForward, "vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
	"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes", inotifyInstances,
}

const inotifyInstances = "fs/inotify/max_user_instances"

// enoughInotify is what several nodes and clusters of one user, each with about thirty watchers of files, get along with. Most
// systems begin with 128, and a kubelet that gets none does not start.
const enoughInotify = 8192

// RaiseLimits raises limits of the machine that clusters of one user share. Where it may not, they stay as they are.
func RaiseLimits() error {
	now, err := readSysctl(inotifyInstances)
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(now); err == nil && n >= enoughInotify {
		return nil
	}
	return setSysctls(map[string]string{inotifyInstances: strconv.Itoa(enoughInotify)})
}

// machineFile keeps how the machine was before the first of possibly several clusters; the last one removes it.
const machineFile = "/run/fairlead-machine.json"

// Machine is what clusters change of the whole machine, as it was before.
type Machine struct {
	Sysctls  map[string]string `json:"sysctls"`
	HadNetns bool              `json:"hadNetns"` // there was a folder of named network namespaces
}

// SaveMachine reads how the machine is, or was before another cluster changed it.
func SaveMachine() (Machine, error) {
	var m Machine
	if data, err := os.ReadFile(machineFile); err == nil {
		if err := json.Unmarshal(data, &m); err != nil {
			return m, fmt.Errorf("reading %s: %w", machineFile, err)
		}
		return m, nil
	}
	m = Machine{Sysctls: Sysctls()}
	_, err := os.Stat(netnsDir)
	m.HadNetns = err == nil
	data, err := json.Marshal(m)
	if err != nil {
		return m, err
	}
	if err := os.WriteFile(machineFile, data, 0o600); err != nil {
		return m, fmt.Errorf("keeping the machine's settings: %w", err)
	}
	return m, nil
}

// Restore puts the machine's settings back, unless another cluster still needs them as they are; that one does it then.
func (m Machine) Restore() error {
	if others, err := filepath.Glob("/sys/class/net/" + linkPrefix + "*"); err != nil || len(others) > 0 {
		return err
	}
	err := setSysctls(m.Sysctls)
	if !m.HadNetns {
		err = errors.Join(err, removeNetnsDir())
	}
	if rerr := os.Remove(machineFile); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return err
}

// Forwarded says whether the machine forwarded packets.
func (m Machine) Forwarded() bool { return m.Sysctls[ipForward] == "1" }

// Sysctls are the machine's settings that a cluster changes.
func Sysctls() map[string]string {
	out := map[string]string{}
	for _, name := range globals {
		if v, err := readSysctl(name); err == nil {
			out[name] = v
		}
	}
	return out
}

func readSysctl(name string) (string, error) {
	data, err := os.ReadFile(filepath.Join("/proc/sys", name))
	return strings.TrimSpace(string(data)), err
}

func setSysctls(values map[string]string) error {
	var errs []error
	for name, v := range values {
		if old, err := readSysctl(name); err == nil && old == v {
			continue
		}
		if err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(v), 0o644); err != nil {
			errs = append(errs, fmt.Errorf("setting %s to %s: %w", name, v, err))
		}
	}
	return errors.Join(errs...)
}

// MayLowerOOMScore says whether this process may shield others from the memory killer (CAP_SYS_RESOURCE).
func MayLowerOOMScore() bool {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	return parseCapability(string(data), 24)
}

// parseCapability finds a capability's bit in the text of /proc/PID/status.
func parseCapability(status string, bit uint) bool {
	for line := range strings.Lines(status) {
		if v, ok := strings.CutPrefix(line, "CapEff:"); ok {
			var mask uint64
			if _, err := fmt.Sscanf(strings.TrimSpace(v), "%x", &mask); err == nil {
				return mask&(1<<bit) != 0
			}
		}
	}
	return false
}
