//go:build cluster

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// watchTerminal looks at every job of the suite while its tests run, and tells of each that left a terminal state again. It
// returns when ctx ends; an error while the control plane is down is no violation.
func watchTerminal(ctx context.Context) (violations []string) {
	last := map[string]string{}
	for {
		select {
		case <-ctx.Done():
			return violations
		case <-time.After(time.Second):
		}
		out, err := cli(ml("job", "list", "-o", "json")...)
		if err != nil {
			continue
		}
		var jobs []struct{ Name, Status string }
		if err := json.Unmarshal([]byte(out), &jobs); err != nil {
			violations = append(violations, fmt.Sprintf("job list is not JSON: %v", err))
			continue
		}
		for _, j := range jobs {
			if was := last[j.Name]; terminal(was) && j.Status != was {
				violations = append(violations, fmt.Sprintf("job %s was %s and then %s", j.Name, was, j.Status))
			}
			last[j.Name] = j.Status
		}
	}
}
