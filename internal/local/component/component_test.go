package component

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
	want := map[string]string{
		"k8s.io/kubernetes": KubernetesVersion, "github.com/containerd/containerd/v2": ContainerdVersion, "github.com/coredns/coredns": CoreDNSVersion,
	}
	for _, u := range Upstreams {
		want[u.Module] = u.Version
	}
	for mod, version := range want {
		if !strings.Contains(string(data), "\t"+mod+" "+version+"\n") {
			t.Errorf("go.mod does not require %s %s", mod, version)
		}
	}
	for _, p := range patches {
		if want[p.module] != p.version {
			t.Errorf("the patch of %s is for %s, not for %s", p.module, p.version, want[p.module])
		}
	}
}

// prometheusTag reads v3.11.3 out of v0.311.3, which is how Prometheus numbers its Go module.
var prometheusTag = regexp.MustCompile(`^v0\.(\d)0?([1-9]?\d)\.(\d+)$`)

func TestUpstreams(t *testing.T) {
	pins, err := os.ReadFile(filepath.Join(module, "deps.go"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, u := range Upstreams {
		tag := u.Version
		if u.Module == prometheusModule {
			tag = prometheusTag.ReplaceAllString(tag, "v$1.$2.$3")
		}
		if !strings.HasSuffix(u.Image, ":"+tag) {
			t.Errorf("%s is built from %s %s", u.Image, u.Module, u.Version)
		}
		for _, v := range u.Stamps {
			if !strings.HasPrefix(v, "/") && !strings.HasSuffix(tag, v) {
				t.Errorf("%s says that its version is %s", u.Image, v)
			}
		}
		if len(u.Entrypoint) > 0 && u.Programs[u.Entrypoint[0]] == "" {
			t.Errorf("%s starts %s, which it does not have", u.Image, u.Entrypoint[0])
		}
		for _, pkg := range u.Programs {
			if !strings.HasPrefix(pkg, u.Module) || !strings.Contains(string(pins), "\t_ \""+pkg+"\"\n") {
				t.Errorf("package %s of %s: want one of %s that deps.go imports", pkg, u.Image, u.Module)
			}
			if other := files[Executable(pkg)]; other != "" {
				t.Errorf("%s and %s have the same file name", pkg, other)
			}
			files[Executable(pkg)] = pkg
		}
	}
}

func TestExecutable(t *testing.T) {
	for pkg, want := range map[string]string{
		"sigs.k8s.io/jobset": "jobset", "k8s.io/kube-state-metrics/v2": "kube-state-metrics", "example.com/a/cmd/b": "b", "example.com/a/vet": "vet",
	} {
		if got := Executable(pkg); got != want {
			t.Errorf("Executable(%s) = %s, want %s", pkg, got, want)
		}
	}
}

// imageRef finds images of other projects in charts.
var imageRef = regexp.MustCompile(`(?:registry\.k8s\.io|quay\.io)/[\w./-]+:[\w.-]+`)

func TestChartsNameUpstreamImages(t *testing.T) {
	var made []string
	for _, u := range Upstreams {
		made = append(made, u.Image)
	}
	found := 0
	err := filepath.WalkDir("../../../charts", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, ref := range imageRef.FindAllString(string(data), -1) {
			found++
			if !slices.Contains(made, ref) {
				t.Errorf("%s names %s, which the local cluster does not make; it makes %s", path, ref, strings.Join(made, ", "))
			}
		}
		return err
	})
	if err != nil || found == 0 {
		t.Errorf("%d images in charts, %v", found, err)
	}
}

func TestPatch(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"edited", "replaced", "removed"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("OLD"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := modulePatch{edits: []edit{{"edited", "OLD", "NEW"}}, files: map[string]string{"replaced": "other", "removed": ""}}
	if err := p.apply(dir); err != nil {
		t.Fatal(err)
	}
	edited, _ := os.ReadFile(filepath.Join(dir, "edited"))
	replaced, _ := os.ReadFile(filepath.Join(dir, "replaced"))
	if _, err := os.Stat(filepath.Join(dir, "removed")); string(edited) != "NEW" || string(replaced) != "other" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("edited %q, replaced %q, removed: %v", edited, replaced, err)
	}
	if err := (modulePatch{files: map[string]string{"nowhere": "x"}}).apply(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("replacing a file that is not there: %v", err)
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
