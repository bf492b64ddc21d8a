//go:build linux

package local

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/local/image"
)

func TestOwn(t *testing.T) {
	o := ownAmong([]image.Archive{
		{Ref: "registry.k8s.io/jobset/jobset:v1"}, {Ref: "docker.io/fairlead/python-ml:bookworm"}, {Ref: "docker.io/fairlead/agent:0123456789ab"},
	})
	if o != (own{agent: "fairlead/agent:0123456789ab"}) {
		t.Errorf("own images %+v", o)
	}
	want := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: fairlead-images, namespace: kube-public}\ndata:\n  agent: \"fairlead/agent:0123456789ab\"\n"
	if d := cmp.Diff(want, string(o.configMap())); d != "" {
		t.Errorf("ConfigMap (-want +got):\n%s", d)
	}
}

func TestUnused(t *testing.T) {
	const a1, a2, a3, dev = "docker.io/fairlead/agent:1", "docker.io/fairlead/agent:2", "docker.io/fairlead/agent:3", "docker.io/fairlead/agent:dev"
	present := map[string]string{
		a1: "sha256:1", "sha256:c1": "sha256:1", a2: "sha256:2", "sha256:c2": "sha256:2", a3: "sha256:3", "sha256:c3": "sha256:3",
		dev: "sha256:3", // the image of now under the name of an earlier time
		"x": "sha256:x", "sha256:cx": "sha256:x",
	}
	got := unused(present, []string{a1, a2, dev}, map[string]bool{a2: true})
	if d := cmp.Diff([]string{a1, dev, "sha256:c1"}, got); d != "" {
		t.Errorf("unused (-want +got):\n%s", d)
	}
}
