//go:build cluster

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// claimYAML is a class and a claim of its name.
const claimYAML = `apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: NAME}
provisioner: datastore.csi.fairlead.dev
parameters: {compute: COMPUTE}
reclaimPolicy: POLICY
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: NAME}
spec: {storageClassName: NAME, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`

// claimPod is an ordinary pod that has the claim.
const claimPod = `apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  restartPolicy: Never
  securityContext: {runAsUser: 1234}
  containers:
  - {name: main, image: "fairlead/python-ml:bookworm", command: [sh, -c, "COMMAND"], volumeMounts: [{name: data, mountPath: /data}]}
  volumes: [{name: data, persistentVolumeClaim: {claimName: keep-not}}]
`

// TestClaim: a claim is a folder of the datastore: an ordinary pod writes, another reads later, a model is made of it, and it goes with the
// claim if its class says so. Without the controller claims wait.
func TestClaim(t *testing.T) {
	dir := t.TempDir()
	clusterID := strings.TrimSpace(must(t, "connectedk8s", "show", "-n", cluster, "-g", group, "--query", "id", "-o", "tsv"))
	must(t, ml("compute", "attach", "--name", "claims", "--type", "kubernetes", "--namespace", "default", "--resource-id", clusterID, "--identity-type", "SystemAssigned")...)
	show := func(query string) string {
		return strings.TrimSpace(must(t, ml("compute", "show", "-n", "claims", "--query", query, "-o", "tsv")...))
	}
	apply := func(name, yaml string, pairs ...string) {
		t.Helper()
		write(t, dir, name+".yml", strings.NewReplacer(append(pairs, "NAME", name)...).Replace(yaml))
		kubectl(t, "apply", "-f", filepath.Join(dir, name+".yml"))
	}
	pod := func(name, command, want string) {
		t.Helper()
		apply(name, claimPod, "COMMAND", command)
		kubectl(t, "wait", "pod/"+name, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=180s")
		if got := kubectl(t, "logs", name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		kubectl(t, "delete", "pod", name)
	}
	bound := func(claim string) (volume string) {
		t.Helper()
		kubectl(t, "wait", "pvc/"+claim, "--for=jsonpath={.status.phase}=Bound", "--timeout=180s")
		return strings.TrimSpace(kubectl(t, "get", "pvc", claim, "-o", "jsonpath={.spec.volumeName}"))
	}
	t.Cleanup(func() {
		for _, args := range [][]string{{"delete", "pod", "writer", "reader", "--ignore-not-found"}, {"delete", "pvc", "keep-not", "keep", "--ignore-not-found"},
			{"delete", "storageclass", "keep-not", "keep", "--ignore-not-found"}} {
			_, _ = cli(append([]string{"kubectl"}, args...)...)
		}
		_, _ = cli(ml("compute", "detach", "-n", "claims", "--yes")...)
	})

	apply("keep-not", claimYAML, "COMPUTE", show("id"), "POLICY", "Delete")
	workspaceID := strings.TrimSpace(must(t, "ml", "workspace", "show", "-n", workspace, "-g", group, "--query", "id", "-o", "tsv"))
	must(t, "role", "assignment", "create", "--assignee", show("identity.principal_id"), "--role", "Contributor", "--scope", workspaceID)
	volume := bound("keep-not")
	pod("writer", "mkdir /data/deep; echo hello > /data/deep/a; cat /data/deep/a", "hello\n")
	pod("reader", "cat /data/deep/a; ls /data", "hello\ndeep\n")
	folder := "azureml://datastores/workspaceblobstore/paths/claims/default/" + volume
	must(t, ml("model", "create", "-n", "claimed", "--version", "1", "--path", folder)...)
	stored := func(to string) (content string) {
		out, err := cli(ml("model", "download", "-n", "claimed", "--version", "1", "-p", filepath.Join(dir, to))...)
		t.Log("download: ", out, err)
		_ = filepath.WalkDir(filepath.Join(dir, to), func(path string, _ os.DirEntry, _ error) error {
			if strings.HasSuffix(path, "/deep/a") {
				b, _ := os.ReadFile(path)
				content = string(b)
			}
			return nil
		})
		return content
	}
	if got := stored("got"); got != "hello\n" {
		t.Errorf("stored %q", got)
	}

	kubectl(t, "scale", "-n", "azureml", "deployment/csi-blob-controller", "--replicas=0")
	kubectl(t, "delete", "pod", "-n", "azureml", "-l", "app.kubernetes.io/name=csi-blob-controller", "--ignore-not-found")
	apply("keep", claimYAML, "COMPUTE", show("id"), "POLICY", "Retain")
	kubectl(t, "wait", "pvc/keep", "--for=jsonpath={.metadata.annotations.volume\\.kubernetes\\.io/storage-provisioner}=datastore.csi.fairlead.dev", "--timeout=60s")
	if phase := kubectl(t, "get", "pvc", "keep", "-o", "jsonpath={.status.phase}"); phase != "Pending" {
		t.Errorf("without the controller the claim is %s", phase)
	}
	kubectl(t, "scale", "-n", "azureml", "deployment/csi-blob-controller", "--replicas=1")
	kept := bound("keep")

	kubectl(t, "delete", "pvc", "keep", "keep-not")
	kubectl(t, "wait", "pv/"+volume, "--for=delete", "--timeout=180s")
	kubectl(t, "wait", "pv/"+kept, "--for=jsonpath={.status.phase}=Released", "--timeout=60s")
	kubectl(t, "delete", "pv", kept)
	if got := stored("gone"); got != "" {
		t.Errorf("the folder of the claim is still there, with %q", got)
	}
}
