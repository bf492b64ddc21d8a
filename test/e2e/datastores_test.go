//go:build cluster

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/testing/s3test"
)

// TestDatastore_InS3: a job reads a mounted folder of somebody else's S3 and writes to another, past the control plane. The store
// listens on this machine's end of the bridge, where pods reach it.
func TestDatastore_InS3(t *testing.T) {
	store := s3test.StartOn(t, controlPlane(t).Hostname())
	store.Bucket(t, "lake")
	store.Put(t, "lake", "team/set/deep/numbers.txt", "1\n2\n3\n")
	dir := t.TempDir()
	write(t, dir, "lake.yml", `name: lake
type: s3
bucket_name: lake
prefix: team
endpoint: `+store.Endpoint+`
credentials: {access_key_id: `+s3test.AccessKeyID+`, secret_access_key: `+s3test.SecretAccessKey+`}
`)
	write(t, dir, "job.yml", header+`command: |
  grep -c ' /fairlead/mnt/.* fuse' /proc/mounts; cat ${{inputs.set}}/deep/numbers.txt; grep -rlF `+strings.Replace(s3test.SecretAccessKey, "the", "t''he", 1)+` /fairlead/run /fairlead/spec /proc/self/environ
  cp -r ${{inputs.set}} ${{outputs.result}}/copy; echo old > ${{outputs.result}}/a; mv ${{outputs.result}}/a ${{outputs.result}}/b
inputs:
  set: {type: uri_folder, path: azureml://datastores/lake/paths/set}
outputs:
  result: {type: uri_folder, path: azureml://datastores/lake/paths/results/1}
`)
	must(t, ml("datastore", "create", "-f", filepath.Join(dir, "lake.yml"), "-o", "none")...)
	must(t, append(ml("job", "create", "-f", filepath.Join(dir, "job.yml")), "--name", "lake", "-o", "none")...)
	awaitStatus(t, "lake", "Completed", startLimit)
	for key, want := range map[string]string{"results/1/copy/deep/numbers.txt": "1\n2\n3\n", "results/1/b": "old\n"} {
		if got, ok := store.Get(t, "lake", "team/"+key); !ok || got != want {
			t.Errorf("%s: %q, %t, want %q", key, got, ok, want)
		}
	}
	if _, ok := store.Get(t, "lake", "team/results/1/a"); ok {
		t.Error("the old name of a renamed file is still stored")
	}
	must(t, ml("job", "download", "-n", "lake", "--all", "-p", filepath.Join(dir, "got"))...)
	for file, want := range map[string]string{"named-outputs/result/b": "old\n", "artifacts/user_logs/std_log.txt": "2\n1\n2\n3\n"} {
		if got, err := os.ReadFile(filepath.Join(dir, "got", file)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", file, got, err, want)
		}
	}
}
