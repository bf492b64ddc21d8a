package render

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/local/netplan"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func testNode(t *testing.T) Node {
	plan, err := netplan.Parse("10.250.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	return Node{
		Cluster: Cluster{Plan: plan, PKIDir: "/data/pki", Upstreams: []string{"192.0.2.53"}}, Index: 1, Name: "fairlead-1",
		Dir: "/data/nodes/1", Cgroup: "/fairlead-abc123/node-1", CNIDir: "/usr/lib/cni", MTU: 1400, RestrictOOM: true, Snapshotter: "overlayfs",
	}
}

func TestGolden(t *testing.T) {
	n := testNode(t)
	offline := n.Cluster
	offline.Upstreams = nil
	files := map[string]func() ([]byte, error){
		"containerd.toml": n.Containerd, "kubelet.yaml": n.Kubelet, "kube-proxy.yaml": n.KubeProxy, "cni.conflist": n.CNI,
		"resolv.conf": n.ResolvConf, "coredns.yaml": n.CoreDNS, "coredns-offline.yaml": offline.CoreDNS,
		"kubeconfig": Kubeconfig{Name: "admin", Server: "https://10.250.0.2:6443", CA: []byte("ca"), Cert: []byte("cert"), Key: []byte("key")}.Render,
	}
	for name, render := range files {
		t.Run(name, func(t *testing.T) {
			got, err := render()
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("%s (-want +got), rewrite with -update:\n%s", name, d)
			}
			if ext := filepath.Ext(name); ext == ".yaml" || ext == ".conflist" || ext == "" {
				var v any
				if err := yaml.Unmarshal(got, &v); err != nil && name != "coredns.yaml" && name != "coredns-offline.yaml" {
					t.Errorf("not YAML: %v", err)
				}
			}
		})
	}
}
