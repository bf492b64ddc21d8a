package extensionsettings

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Impact is what an update disturbs.
type Impact struct {
	Workloads Workloads
	// Changes has a line for each setting at fault.
	Changes []string
}

// Changes says what an update from old to new plain settings disturbs. What was not running cannot be disturbed.
func Changes(old, updated map[string]string) Impact {
	before, after := Settings{Plain: old}.Effective(), Settings{Plain: updated}.Effective()
	var running Workloads
	if before["enableTraining"] == "True" {
		running |= Jobs
	}
	if before["enableInference"] == "True" {
		running |= Endpoints
	}
	both := maps.Clone(before)
	maps.Copy(both, after)
	var out Impact
	for _, key := range slices.Sorted(maps.Keys(both)) {
		row, _ := find(key)
		disturbed := row.Disturbs & running
		if disturbed == 0 || before[key] == after[key] || row.OnlyOff && after[key] == "True" {
			continue
		}
		out.Workloads |= disturbed
		line := fmt.Sprintf("%s from %s to %s", key, orNothing(before[key]), orNothing(after[key]))
		if row.family() == "nodeSelector." {
			line += ". " + textKeepsLabels
		}
		out.Changes = append(out.Changes, line)
	}
	return out
}

func orNothing(value string) string {
	if value == "" {
		return "nothing"
	}
	return value
}

// Text is what the reference says before it asks whether to proceed.
func (i Impact) Text() string {
	var who []string
	if i.Workloads&Jobs != 0 {
		who = append(who, "jobs")
	}
	if i.Workloads&Endpoints != 0 {
		who = append(who, "online endpoints and deployments")
	}
	scenario := strings.Join(who, ", ")
	return "The following configuration update will IMPACT your active Machine Learning " + scenario +
		". It will be the safe update if the cluster doesn't have active Machine Learning " + scenario + ".\n\n" +
		strings.Join(i.Changes, ",\n")
}

// Idle says of each given setting that it has no effect here, and why. What clients add by themselves is not spoken of.
func (s Settings) Idle() []string {
	var out []string
	for _, key := range s.keys() {
		row, known := find(spell(key))
		if known && row.Unused != "" && !row.Protected && row.From != Client {
			out = append(out, fmt.Sprintf("%s has no effect: %s", key, row.Unused))
		}
	}
	return out
}
