package image

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"fairlead.dev/fairlead/internal/local/component"
)

func testSpec(t *testing.T, content string) Spec {
	t.Helper()
	file := filepath.Join(t.TempDir(), "prog")
	if err := os.WriteFile(file, []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
	return program("docker.io/fairlead/test:dev", "/prog", file, nonRoot)
}

func TestPack(t *testing.T) {
	cache := t.TempDir()
	first, hit, err := Pack(t.Context(), cache, testSpec(t, "one"))
	if err != nil || hit {
		t.Fatalf("hit %v, %v", hit, err)
	}
	t.Run("the same again is there", func(t *testing.T) {
		again, hit, err := Pack(t.Context(), cache, testSpec(t, "one"))
		if d := cmp.Diff(first, again); d != "" || !hit || err != nil {
			t.Errorf("hit %v, %v, difference:\n%s", hit, err, d)
		}
	})
	t.Run("another cache, the same digest", func(t *testing.T) {
		other, _, err := Pack(t.Context(), t.TempDir(), testSpec(t, "one"))
		if err != nil || other.Digest != first.Digest {
			t.Errorf("digest %s, want %s, %v", other.Digest, first.Digest, err)
		}
	})
	t.Run("another content, another digest", func(t *testing.T) {
		other, hit, err := Pack(t.Context(), cache, testSpec(t, "two"))
		if err != nil || hit || other.Digest == first.Digest {
			t.Errorf("digest %s, hit %v, %v", other.Digest, hit, err)
		}
	})
	t.Run("a name without a tag gets one of the content", func(t *testing.T) {
		refs := map[string]bool{}
		for _, content := range []string{"one", "two", "one"} {
			s := testSpec(t, content)
			s.Ref = "docker.io/fairlead/test"
			a, _, err := Pack(t.Context(), cache, s)
			if want := s.Ref + ":" + strings.TrimPrefix(a.Digest, "sha256:")[:12]; err != nil || a.Ref != want {
				t.Errorf("packed as %s, want %s, %v", a.Ref, want, err)
			}
			refs[a.Ref] = true
		}
		if len(refs) != 2 {
			t.Errorf("names %v of two contents", refs)
		}
	})
	t.Run("it is a valid layout", func(t *testing.T) { checkLayout(t, first) })
}

func checkLayout(t *testing.T, a Archive) {
	dir := untar(t, a.File)
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index, validate.Fast); err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	d := manifest.Manifests[0]
	if d.Digest.String() != a.Digest || d.Annotations["io.containerd.image.name"] != a.Ref {
		t.Errorf("descriptor %v, want %s named %s", d, a.Digest, a.Ref)
	}
	img, err := index.Image(d.Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := v1.Config{Entrypoint: []string{"/prog"}, User: nonRoot, Env: []string{pathEnv}, StopSignal: stopTerm, WorkingDir: "/"}
	if d := cmp.Diff(want, config.Config); d != "" {
		t.Errorf("config (-want +got):\n%s", d)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	checkLayer(t, content)
}

func checkLayer(t *testing.T, content io.Reader) {
	var names []string
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || !h.ModTime.Equal(epoch) {
			t.Errorf("%s has owner %d and time %v", h.Name, h.Uid, h.ModTime)
		}
		if h.Name == "prog" && h.Mode != 0o755 {
			t.Errorf("the program's mode is %o", h.Mode)
		}
		names = append(names, h.Name)
	}
	for _, want := range []string{"tmp/", "etc/", "etc/passwd", "prog"} {
		if !slices.Contains(names, want) {
			t.Errorf("no %s among %s", want, strings.Join(names, " "))
		}
	}
}

func untar(t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFindDebian(t *testing.T) {
	for _, name := range []string{"python-ml", "fairlead/python-ml:bookworm", "docker.io/fairlead/python-ml:bookworm"} {
		if d, err := FindDebian(name); err != nil || d.Name != "python-ml" {
			t.Errorf("FindDebian(%s) = %v, %v", name, d.Name, err)
		}
	}
	if _, err := FindDebian("python-mxnet"); err == nil || !strings.Contains(err.Error(), "python-torch") {
		t.Errorf("error %v, want the names there are", err)
	}
	if a, b := DebianImages()[0].key(), DebianImages()[1].key(); a == b {
		t.Error("two images with one key")
	}
}

func TestWorst(t *testing.T) {
	for text, want := range map[string]string{
		"I: begin\nE: first\nnoise\nE: second\nI: removing": "E: first\nE: second",
		"a\nb": "a\nb",
	} {
		if got := worst(text); got != want {
			t.Errorf("worst(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestUpstream(t *testing.T) {
	set := component.Set{Dir: "/programs"}
	specs := Upstream(set)
	if len(specs) != len(component.Upstreams) {
		t.Fatalf("%d images, want %d", len(specs), len(component.Upstreams))
	}
	i := slices.IndexFunc(specs, func(s Spec) bool { return strings.Contains(s.Ref, "/node-feature-discovery:") })
	want := map[string]string{"/usr/bin/nfd-master": "/programs/nfd-master", "/usr/bin/nfd-worker": "/programs/nfd-worker"}
	if i < 0 || cmp.Diff(want, specs[i].Files) != "" {
		t.Errorf("images %v", specs)
	}
}
