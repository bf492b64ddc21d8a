package kubeconf

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

const theirs = `apiVersion: v1
clusters:
- cluster:
    server: https://theirs:6443
  name: eks
contexts:
- context:
    cluster: eks
    user: me
  name: prod
- context:
    cluster: eks
    user: clusterUser_g_arc
  name: second
current-context: prod
kind: Config
users:
- name: clusterUser_g_arc
  user:
    token: second
- name: me
  user:
    token: theirs
`

func entry(context string) Entry {
	return Entry{Context: context, User: "clusterUser_g_arc", Cluster: &api.Cluster{Server: "https://fl.example/kube/v1/subscriptions/s"}, Auth: &api.AuthInfo{Token: "ours"}}
}

func file(t *testing.T) File {
	t.Helper()
	f := filepath.Join(t.TempDir(), "kc")
	if err := os.WriteFile(f, []byte(theirs), 0o644); err != nil {
		t.Fatal(err)
	}
	return File(f)
}

// TestTheirs: what is of no connected cluster stays, whether its context, its cluster or its user has the name.
func TestTheirs(t *testing.T) {
	f := file(t)
	for _, name := range []string{"prod", "eks"} {
		if _, err := f.Merge(entry(name)); err == nil || !strings.Contains(err.Error(), `"`+name+`" already`) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for range 2 { // the second time it replaces its own
		if _, err := f.Merge(entry("arc")); err != nil {
			t.Fatal(err)
		}
	}
	c, err := clientcmd.LoadFromFile(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	if got := c.AuthInfos["clusterUser_g_arc"].Token; got != "second" {
		t.Errorf("another context's user has token %q now", got)
	}
	if got := c.AuthInfos[c.Contexts["arc"].AuthInfo].Token; got != "ours" || c.Contexts["prod"].Cluster != "eks" || len(c.AuthInfos) != 3 {
		t.Errorf("%+v %+v", c.Contexts, c.AuthInfos)
	}
	if fi, err := os.Stat(f.Path()); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
}

// TestUndo leaves the file as it was.
func TestUndo(t *testing.T) {
	f := file(t)
	undo, err := f.Merge(entry("arc"))
	if err != nil {
		t.Fatal(err)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	c, err := clientcmd.LoadFromFile(f.Path())
	if err != nil {
		t.Fatal(err)
	}
	if c.CurrentContext != "prod" || len(c.Contexts) != 2 || len(c.Clusters) != 1 || len(c.AuthInfos) != 2 {
		t.Errorf("%+v", c)
	}
}
