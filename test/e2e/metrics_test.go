//go:build cluster

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// catchUpLimit is how long series may take: a minute ends, Prometheus settles, and pods that were killed start again.
const catchUpLimit = 5 * time.Minute

// burn uses a processor for 60 seconds, says how much of it there was (the shell's own "times"), and waits for the last scrape.
const burn = `command: |
  end=$(($(date +%s)+60))
  while [ $(date +%s) -lt $end ]; do i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; done
  times
  sleep 45
resources: {instance_type: small}
`

// jobMetric is a row of `ml … metrics`.
type jobMetric struct {
	Metric                          string
	Minimum, Average, Maximum, Last float64
	Minutes                         int
}

func metricsOf(args ...string) (map[string]jobMetric, error) {
	out, err := cli(append(ml(args...), "-o", "json")...)
	if err != nil {
		return nil, err
	}
	var rows []jobMetric
	err = json.Unmarshal([]byte(out), &rows)
	by := map[string]jobMetric{}
	for _, r := range rows {
		by[r.Metric] = r
	}
	return by, err
}

// seconds reads the first line of "times": 0m59.123s 0m0.123s.
func seconds(t *testing.T, log string) float64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^(\d+)m([\d.]+)s (\d+)m([\d.]+)s$`).FindStringSubmatch(log)
	if m == nil {
		t.Fatalf("the job did not say what it used:\n%s", log)
	}
	var f [5]float64
	for i := 1; i < 5; i++ {
		f[i], _ = strconv.ParseFloat(m[i], 64)
	}
	return 60*(f[1]+f[3]) + f[2] + f[4]
}

// TestMetrics_AreThereWhenThePodsAreGone: a job's series tell what the job itself says that it used, although the program that brings
// them was killed while it ran, was not there when it ended, and came back when its pods were deleted.
func TestMetrics_AreThereWhenThePodsAreGone(t *testing.T) {
	applyType(t, "small", smallRequests, smallLimits)
	submit(t, "burn", header+burn)
	awaitStatus(t, "burn", "Running", startLimit)
	killPart(t, "metrics-controller-manager", []string{"fairlead-agent", "metrics"})
	scale := func(n int) {
		kubectl(t, "scale", "deployment", "-n", "azureml", "metrics-controller-manager", fmt.Sprintf("--replicas=%d", n))
	}
	scale(0)
	t.Cleanup(func() { scale(1) })
	awaitStatus(t, "burn", "Completed", startLimit)
	used := seconds(t, must(t, ml("job", "stream", "-n", "burn")...))
	kubectl(t, "delete", "pods", "-n", "default", "-l", "amlarc.azureml.com/job-id")
	scale(1)
	eventually(t, catchUpLimit, "the series tell what the job used", func(context.Context) error {
		got, err := metricsOf("job", "metrics", "-n", "burn")
		if err != nil {
			return err
		}
		cpu, memory := got["CpuUtilizationMillicores"], got["CpuMemoryUtilizationMegabytes"]
		told := cpu.Average * float64(cpu.Minutes) * 60 / 1000
		switch {
		case told < used*0.8 || told > used*1.2+1:
			return fmt.Errorf("%.1f s of processor time, the job says %.1f s: %+v", told, used, got)
		case got["CpuCapacityMillicores"].Last != 1000 || got["CpuMemoryCapacityMegabytes"].Last != 536.9:
			return fmt.Errorf("the instance type's limits are not told: %+v", got)
		case memory.Maximum <= 0 || memory.Maximum > 536.9:
			return fmt.Errorf("memory: %+v", memory)
		case got["CpuUtilizationPercentage"].Maximum > 150:
			return fmt.Errorf("more than the limit was used: %+v", got)
		}
		return nil
	})
	id := strings.TrimSpace(must(t, ml("job", "show", "-n", "burn", "--query", "id", "-o", "tsv")...))
	if table := must(t, "monitor", "metrics", "list", "--resource", id, "--metrics", "CpuUtilizationMillicores", "--interval", "1m", "-o", "table"); !strings.Contains(table, "CpuUtilizationMillicores") {
		t.Errorf("the table of values is empty:\n%s", table)
	}
}

// TestMonitoring_OperatorMakesPrometheusAgain: the operator watches over what it made.
func TestMonitoring_OperatorMakesPrometheusAgain(t *testing.T) {
	ready := func() (uid, replicas string) {
		out, _ := cli("kubectl", "get", "statefulset", "-n", "azureml", "prometheus-prom-prometheus", "-o", "jsonpath={.metadata.uid} {.status.readyReplicas}")
		uid, replicas, _ = strings.Cut(strings.TrimSpace(out), " ")
		return uid, replicas
	}
	old, _ := ready()
	kubectl(t, "delete", "statefulset", "-n", "azureml", "prometheus-prom-prometheus")
	eventually(t, catchUpLimit, "Prometheus is there again", func(context.Context) error {
		if uid, replicas := ready(); uid == "" || uid == old || replicas != "1" {
			return fmt.Errorf("StatefulSet %q (it was %q), %q ready", uid, old, replicas)
		}
		return nil
	})
}

// TestNodeFeatures_ChooseNodes: an instance type selects nodes by what node-feature-discovery found there.
func TestNodeFeatures_ChooseNodes(t *testing.T) {
	const feature = "feature.node.kubernetes.io/kernel-version.major"
	var major string
	eventually(t, time.Minute, "the node is labelled", func(context.Context) error {
		out, err := cli("kubectl", "get", "node", node0, "-o", `jsonpath={.metadata.labels.feature\.node\.kubernetes\.io/kernel-version\.major}`)
		if major = strings.TrimSpace(out); err == nil && major == "" {
			err = fmt.Errorf("no label %s", feature)
		}
		return err
	})
	applyType(t, "kernel", smallRequests, smallLimits+"\n  nodeSelector: {"+feature+`: "`+major+`"}`)
	applyType(t, "other-kernel", smallRequests, smallLimits+"\n  nodeSelector: {"+feature+`: "0"}`)
	submit(t, "nfd-other", header+"command: 'true'\nresources: {instance_type: other-kernel}\n")
	submit(t, "nfd", header+"command: 'true'\nresources: {instance_type: kernel}\n")
	awaitStatus(t, "nfd", "Completed", startLimit)
	if s := show(t, "nfd-other"); terminal(s.Status) || s.Status == "Running" {
		t.Errorf("a job whose kernel no node has is %s", s.Status)
	}
	must(t, ml("job", "cancel", "-n", "nfd-other")...)
}
