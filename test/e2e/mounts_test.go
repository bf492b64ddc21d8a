//go:build cluster

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMount_OutlivesItsDriver: a job reads a mounted input and writes a mounted output while csi-blob-node is taken away.
func TestMount_OutlivesItsDriver(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "data/deep/numbers.txt", "1\n2\n3\n")
	write(t, dir, "data/later.txt", "later\n")
	write(t, dir, "job.yml", header+`command: |
  grep -c ' /fairlead/mnt/.* fuse' /proc/mounts; cat ${{inputs.data}}/deep/numbers.txt; touch ${{inputs.data}}/no 2>&1 | grep -o 'Read-only file system'
  echo old > ${{outputs.result}}/a; sync ${{outputs.result}}/a; echo ready
  while ! test -e /fairlead/work/go; do sleep 0.1; done
  cat ${{inputs.data}}/later.txt; mv ${{outputs.result}}/a ${{outputs.result}}/b; echo new >> ${{outputs.result}}/b
inputs:
  data: {type: uri_folder, path: data}
outputs:
  result: {type: uri_folder}
`)
	must(t, append(ml("job", "create", "-f", filepath.Join(dir, "job.yml")), "--name", "mounts", "-o", "none")...)
	awaitStatus(t, "mounts", "Running", startLimit)
	kubectl(t, "delete", "pod", "-n", "azureml", "-l", "app.kubernetes.io/name=csi-blob-node", "--force", "--grace-period=0")
	kubectl(t, "exec", strings.TrimSpace(kubectl(t, "get", "pods", "-l", "ml.azure.com/run-id=mounts", "-o", "name")), "-c", "main", "--", "touch", "/fairlead/work/go")
	awaitStatus(t, "mounts", "Completed", startLimit)
	kubectl(t, "rollout", "status", "-n", "azureml", "daemonset/csi-blob-node", "--timeout=60s")
	must(t, ml("job", "download", "-n", "mounts", "--all", "-p", filepath.Join(dir, "got"))...)
	for file, want := range map[string]string{
		"named-outputs/result/b":          "old\nnew\n",
		"artifacts/user_logs/std_log.txt": "2\n1\n2\n3\nRead-only file system\nready\nlater\n",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, "got", file)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", file, got, err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "got/named-outputs/result/a")); err == nil {
		t.Error("the old name of a renamed file is still stored")
	}
}
