package component

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module is the Go module that the programs are built from.
const module = "../../../localcluster"

func TestVersionsAgreeWithModule(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(module, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for mod, version := range map[string]string{
		"k8s.io/kubernetes": KubernetesVersion, "github.com/containerd/containerd/v2": ContainerdVersion,
		"github.com/coredns/coredns": CoreDNSVersion, "sigs.k8s.io/jobset": JobSetVersion,
	} {
		if !strings.Contains(string(data), "\t"+mod+" "+version+"\n") {
			t.Errorf("go.mod does not require %s %s", mod, version)
		}
	}
}

func TestEdit(t *testing.T) {
	for name, tt := range map[string]struct{ content, wantErr string }{
		"once":  {"a OLD b", ""},
		"never": {"a b", "0 times"},
		"twice": {"OLD OLD", "2 times"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "f.go"), []byte(tt.content), 0o644); err != nil {
				t.Fatal(err)
			}
			err := edit{file: "f.go", old: "OLD", new: "NEW"}.apply(dir)
			if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Fatalf("error %v, want %q", err, tt.wantErr)
			}
			if data, _ := os.ReadFile(filepath.Join(dir, "f.go")); err == nil && string(data) != "a NEW b" {
				t.Errorf("content %q", data)
			}
		})
	}
}

func TestFind(t *testing.T) {
	whole, part := t.TempDir(), t.TempDir()
	for i, n := range Names() {
		if err := os.WriteFile(filepath.Join(whole, n), nil, 0o755); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			if err := os.WriteFile(filepath.Join(part, n), nil, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if set, err := Find("", part, whole); err != nil || set.Dir != whole {
		t.Errorf("Find = %v, %v", set, err)
	}
	if _, err := Find(part); err == nil || !strings.Contains(err.Error(), Names()[0]) || !strings.Contains(err.Error(), "--kubeconfig") {
		t.Errorf("error %v, want the missing program and the other way", err)
	}
}

func TestKey(t *testing.T) {
	b := Builder{Module: module, Log: os.Stderr}
	one, err := b.Key(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	two, err := b.Key(t.Context())
	if err != nil || one != two {
		t.Errorf("keys %s, %s, %v", one, two, err)
	}
}
