package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// globals are the settings of the whole machine that the kubelet or Build changes.
var globals = []string{
	ipForward, "vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
	"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
}

// SaveSysctls reads the machine's settings that a cluster changes, to be put back by RestoreSysctls.
func SaveSysctls() map[string]string {
	out := map[string]string{}
	for _, name := range globals {
		if v, err := readSysctl(name); err == nil {
			out[name] = v
		}
	}
	return out
}

// RestoreSysctls puts settings back.
func RestoreSysctls(saved map[string]string) error { return setSysctls(saved) }

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
