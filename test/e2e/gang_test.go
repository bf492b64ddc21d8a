//go:build cluster

package e2e

import (
	"bytes"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestGang_LogsAreLive follows a gang whose processes do not end: the lines of each must show while they run.
func TestGang_LogsAreLive(t *testing.T) {
	submit(t, "gang-live", header+`command: echo "I am $RANK on node $NODE_RANK"; sleep 3600
resources: {instance_count: 2}
distribution: {type: pytorch, process_count_per_instance: 2}
`)
	stream := background(t, ml("job", "stream", "-n", "gang-live")...)
	want := []string{"[0] I am 0 on node 0\n", "[1] I am 1 on node 0\n", "[2] I am 2 on node 1\n", "[3] I am 3 on node 1\n"}
	for deadline := time.Now().Add(startLimit); ; <-time.After(200 * time.Millisecond) {
		var lacks []string
		for _, line := range want {
			if !strings.Contains(stream.String(), line) {
				lacks = append(lacks, line)
			}
		}
		if len(lacks) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the stream of a running gang lacks %q:\n%s", lacks, stream)
		}
	}
	if s := show(t, "gang-live"); terminal(s.Status) {
		t.Errorf("the gang is %s already", s.Status)
	}
	listed := must(t, "rest", "--method", "get", "--url", "/history/v1.0"+workspaceID(t)+"/runs/gang-live/logs")
	for _, name := range []string{"user_logs/std_log.txt", "user_logs/std_log_process_01.txt", "user_logs/std_log_process_02.txt", "user_logs/std_log_process_03.txt"} {
		if !strings.Contains(listed, `"`+name+`"`) {
			t.Errorf("run history lacks %s while the gang runs:\n%s", name, listed)
		}
	}
	must(t, ml("job", "cancel", "-n", "gang-live")...)
	awaitStatus(t, "gang-live", "Canceled", startLimit)
}

func workspaceID(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(must(t, "ml", "workspace", "show", "--name", workspace, "-g", group, "--query", "id", "-o", "tsv"))
}

// output is what a program has printed so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// background starts one command line of Fairlead; it is killed when the test ends.
func background(t *testing.T, args ...string) *output {
	t.Helper()
	var out output
	cmd := command(args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &out
}

// TestJob_GetsWhatItsNamespaceHas: claims that are marked for jobs, and the cluster's labels on its pods.
func TestJob_GetsWhatItsNamespaceHas(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "claim.yml", `apiVersion: v1
kind: PersistentVolume
metadata: {name: e2e-shared}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteMany]
  storageClassName: e2e
  hostPath: {path: /tmp/fairlead-e2e-shared, type: DirectoryOrCreate}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: e2e-shared
  namespace: default
  labels: {ml.azure.com/pvc: "true"}
  annotations: {ml.azure.com/mountpath: /mnt/shared}
spec:
  accessModes: [ReadWriteMany]
  storageClassName: e2e
  resources: {requests: {storage: 1Gi}}
`)
	kubectl(t, "apply", "-f", dir+"/claim.yml")
	t.Cleanup(func() {
		kubectl(t, "delete", "--wait=false", "-f", dir+"/claim.yml")
		if err := os.RemoveAll("/tmp/fairlead-e2e-shared"); err != nil {
			t.Error(err)
		}
	})
	const command = `command: |
  echo kept > /mnt/shared/file && cat /mnt/shared/file && rm /mnt/shared/file
  python3 -c 'import os, urllib.request; print("answers", urllib.request.urlopen(os.environ["AZUREML_SERVICE_ENDPOINT"] + "/healthz").status)'
`
	submit(t, "claims", header+command)
	awaitStatus(t, "claims", "Completed", startLimit)
	log := must(t, ml("job", "stream", "-n", "claims")...)
	for _, want := range []string{"\nkept\n", "\nanswers 200\n"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q; python is to trust the control plane without being told how:\n%s", want, log)
		}
	}
	labels := kubectl(t, "get", "pod", "-n", "default", "-l", "ml.azure.com/run-id=claims,jobRole=worker,ml.azure.com/scrape-metrics=true,"+
		"ml.azure.com/compute="+compute+",ml.azure.com/workspace="+workspace+",ml.azure.com/resource-group="+group, "-o", "jsonpath={.items[*].metadata.labels}")
	for _, want := range []string{`"jobId":`, `"ml.azure.com/subscription-id":`, `"ml.azure.com/billing-category":"azureml-training"`} {
		if !strings.Contains(labels, want) {
			t.Errorf("the pod's labels lack %s: %s", want, labels)
		}
	}
}
