//go:build cluster

package local

import (
	"fmt"
	"path"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/local/component"
)

// versionPod asks a program for its version, in the image that the local cluster made of it.
const versionPod = `
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  restartPolicy: Never
  containers:
  - {name: main, image: %q, imagePullPolicy: Never, command: [%q, %s]}
---
`

// askVersion is how the programs are asked; of JobSet's, which has no such flag, the help is enough.
var askVersion = map[string]string{"nfd-master": "-version", "nfd-worker": "-version", "kube-state-metrics": "version", "manager": "--help"}

func TestUpstreamImages(t *testing.T) {
	c := newCluster(t)
	c.up()
	var manifest strings.Builder
	want := map[string]string{}
	for _, u := range component.Upstreams {
		_, tag, _ := strings.Cut(u.Image, ":")
		for file := range u.Programs {
			name := path.Base(file)
			ask, ok := askVersion[name]
			if !ok {
				ask = "--version"
			}
			fmt.Fprintf(&manifest, versionPod, name, u.Image, file, ask)
			if want[name] = strings.TrimPrefix(tag, "v"); ask == "--help" {
				want[name] = "Usage of " + file
			}
		}
	}
	c.apply(manifest.String())
	for name, text := range want {
		c.eventually(name+" to answer", func() (string, bool) {
			out, err := c.try("kubectl", "get", "pod", name, "-o", "jsonpath={.status.phase} {.status.containerStatuses[*].state}")
			return out, err == nil && strings.HasPrefix(out, "Succeeded")
		})
		if out := c.kubectl("logs", name); !strings.Contains(out, text) {
			t.Errorf("%s says\n%s\nwant %q in it", name, out, text)
		}
	}
}
