//go:build cluster

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// collector is the log collector's process, which runs as DaemonSet fluent-bit.
var collector = []string{"fairlead-agent", "log-collector"}

// extensionCommand is a command on the suite's extension.
func extensionCommand(verb string, args ...string) []string {
	return append([]string{"k8s-extension", verb, "-n", extension, "-c", cluster, "-t", "connectedClusters", "-g", group}, args...)
}

// keptLines are the texts of lines that the control plane has.
func keptLines(t *testing.T, args ...string) (texts []string) {
	t.Helper()
	for line := range strings.Lines(must(t, extensionCommand("logs", append(args, "--tail", "10000", "-o", "json")...)...)) {
		var l struct{ Line string }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		texts = append(texts, l.Line)
	}
	return texts
}

// TestLogs_AreKeptWhenPodsAreGone: with logAnalyticsWS the lines of a job are followed while it runs and found when its pods are
// deleted, each once and in order although the collector is killed meanwhile; without, none are.
func TestLogs_AreKeptWhenPodsAreGone(t *testing.T) {
	const lines = 2000
	must(t, extensionCommand("update", "--config", "logAnalyticsWS=True", "--yes")...)
	kubectl(t, "rollout", "status", "-n", "azureml", "daemonset/fluent-bit", "--timeout=60s")
	t.Cleanup(func() { must(t, extensionCommand("update", "--config", "logAnalyticsWS=False", "--yes")...) })
	followed := background(t, extensionCommand("logs", "-f", "--tail", "0", "--job", "logged", "--search", "^marker-")...)
	submit(t, "logged", header+fmt.Sprintf("command: for i in $(seq %d); do echo marker-$i; if [ $((i%%200)) = 0 ]; then sleep 1; fi; done\n", lines))
	kept := func() []string { return keptLines(t, "--job", "logged", "--search", "^marker-") }
	await := func(n int) {
		t.Helper()
		eventually(t, startLimit, fmt.Sprintf("%d lines are kept", n), func(context.Context) error {
			if got := len(kept()); got < n {
				return fmt.Errorf("%d lines", got)
			}
			return nil
		})
	}
	await(lines / 5)
	killPart(t, "fluent-bit", collector)
	awaitStatus(t, "logged", "Completed", startLimit)
	await(lines)
	kubectl(t, "delete", "pods", "-n", "default", "-l", "ml.azure.com/run-id=logged")
	var want []string
	for i := range lines {
		want = append(want, fmt.Sprintf("marker-%d", i+1))
	}
	if got := kept(); !slices.Equal(got, want) {
		t.Errorf("%d lines are kept, %d of them different, want %d", len(got), len(slices.Compact(slices.Sorted(slices.Values(got)))), lines)
	}
	eventually(t, time.Minute, "the follower has the last line", func(context.Context) error {
		if n := strings.Count(followed.String(), " marker-"); n != lines {
			return fmt.Errorf("%d lines", n)
		}
		return nil
	})
	if out := must(t, extensionCommand("log-streams", "--job", "logged", "-o", "table")...); !strings.Contains(out, "logged") {
		t.Errorf("streams:\n%s", out)
	}
	if got := keptLines(t, "--namespace", "azureml", "--search", "gateway|aml-operator"); len(got) == 0 {
		t.Error("no lines of the extension's components are kept")
	}
}
