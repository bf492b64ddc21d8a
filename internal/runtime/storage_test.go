package runtime

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/controlplane/datastores/datastorestest"
	"fairlead.dev/fairlead/internal/runtime/blobclient/blobtest"
	"fairlead.dev/fairlead/internal/testing/s3test"
)

// aStorage is a pod on a node with a cache, whose model is a folder of two files.
func aStorage(t *testing.T, blobs *blobtest.Server, cache string) StorageConfig {
	t.Helper()
	dir := t.TempDir()
	token, self := filepath.Join(dir, "token"), filepath.Join(dir, "self")
	for path, content := range map[string]string{token: blobtest.Token, self: "program"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	blobs.Put("acct/data/run/model/weights", "weights\n")
	blobs.Put("acct/data/run/model/deep/config.json", "{}\n")
	blobs.Put("acct/data/code/score.py", "def init(): pass\n")
	return StorageConfig{
		Storage: commonruntime.Storage{BlobBase: blobs.Base, Cache: cache, Server: true,
			Model: &commonruntime.Fetch{URL: blobs.Base + "/acct/data/run/model/", Dir: filepath.Join(dir, "models", "digits", "1")},
			Code:  &commonruntime.Fetch{URL: blobs.Base + "/acct/data/code", Dir: filepath.Join(dir, "code")}},
		Self: self, BinDir: filepath.Join(dir, "bin"), TokenPath: token, ResultPath: filepath.Join(dir, "result"), PodUID: filepath.Base(dir), Stderr: t.Output(), RetryFor: time.Second,
	}
}

func (c StorageConfig) prepared(t *testing.T) StorageConfig {
	t.Helper()
	for _, d := range []string{c.Storage.Model.Dir, c.Storage.Code.Dir, c.BinDir} { // volumes
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func holds(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v; want %q", path, got, err, want)
	}
}

// counting counts how often files of the model are fetched.
func counting(blobs *blobtest.Server) *atomic.Int32 {
	var n atomic.Int32
	blobs.SetFault(func(r *http.Request) blobtest.Fault {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/run/model/") {
			n.Add(1)
		}
		return blobtest.Fault{}
	})
	return &n
}

func TestStorage(t *testing.T) {
	for name, cached := range map[string]bool{"in the pod": false, "by the node's cache": true} {
		t.Run(name, func(t *testing.T) {
			blobs, cache := blobtest.New(t), ""
			if cached {
				cache = t.TempDir()
			}
			c := aStorage(t, blobs, cache).prepared(t)
			if code := InitializeStorage(t.Context(), c); code != 0 {
				t.Fatalf("exit code %d", code)
			}
			holds(t, filepath.Join(c.Storage.Model.Dir, "model/weights"), "weights\n")
			holds(t, filepath.Join(c.Storage.Model.Dir, "model/deep/config.json"), "{}\n")
			holds(t, filepath.Join(c.Storage.Code.Dir, "score.py"), "def init(): pass\n")
			holds(t, filepath.Join(c.BinDir, "fairlead-runtime"), "program")
			holds(t, filepath.Join(c.BinDir, commonruntime.ServerFile), string(scoringServer))
		})
	}
	t.Run("one file", func(t *testing.T) {
		for _, cache := range []string{"", t.TempDir()} {
			c := aStorage(t, blobtest.New(t), cache).prepared(t)
			c.Storage.Model.URL = strings.TrimSuffix(c.Storage.Model.URL, "/") + "/weights"
			if code := InitializeStorage(t.Context(), c); code != 0 {
				t.Fatalf("exit code %d", code)
			}
			holds(t, filepath.Join(c.Storage.Model.Dir, "weights"), "weights\n")
		}
	})
	t.Run("a model that is gone", func(t *testing.T) {
		c := aStorage(t, blobtest.New(t), "").prepared(t)
		c.Storage.Model.URL = strings.Replace(c.Storage.Model.URL, "/run/", "/gone/", 1)
		if code := InitializeStorage(t.Context(), c); code == 0 {
			t.Error("exit code 0")
		}
		var r commonruntime.Result
		b, err := os.ReadFile(c.ResultPath)
		if err != nil || json.Unmarshal(b, &r) != nil || r.Code != commonruntime.CodeFetchFailed || !strings.Contains(r.Message, "/gone/model/") {
			t.Errorf("result %s, %v", b, err)
		}
	})
}

// TestModelCache: pods that start together, and those that come later, fetch a model once; what a node or a pod has spoilt is fetched anew.
// TestKilledFetch: what a pod left that was killed while it fetched is gone when another has fetched.
func TestKilledFetch(t *testing.T) {
	blobs, cache := blobtest.New(t), t.TempDir()
	c := aStorage(t, blobs, cache).prepared(t)
	if code := InitializeStorage(t.Context(), c); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	models, err := filepath.Glob(filepath.Join(cache, strings.Repeat("?", 64)))
	if err != nil || len(models) != 1 {
		t.Fatal(models, err)
	}
	left, other := ".fetch-"+filepath.Base(models[0])+"-1", ".fetch-"+strings.Repeat("0", 64)+"-1"
	for _, dir := range []string{left, other} {
		if err := os.MkdirAll(filepath.Join(cache, dir, "weights"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(models[0]); err != nil {
		t.Fatal(err)
	}
	if code := InitializeStorage(t.Context(), aStorage(t, blobs, cache).prepared(t)); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if got, _ := filepath.Glob(filepath.Join(cache, ".fetch-*")); len(got) != 1 || filepath.Base(got[0]) != other {
		t.Errorf("left are %v; want what is fetched of another model", got)
	}
}

func TestModelCache(t *testing.T) {
	blobs, cache := blobtest.New(t), t.TempDir()
	n := counting(blobs)
	pods := make([]StorageConfig, 4)
	for i := range pods {
		pods[i] = aStorage(t, blobs, cache).prepared(t)
	}
	var wg sync.WaitGroup
	for _, c := range pods {
		wg.Go(func() {
			if code := InitializeStorage(t.Context(), c); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
	wg.Wait()
	if got := n.Load(); got != 2 {
		t.Errorf("the model's 2 files were fetched by %d requests", got)
	}
	file, err := filepath.EvalSymlinks(filepath.Join(pods[0].Storage.Model.Dir, "model/weights"))
	kept := filepath.Dir(file)
	if err != nil || filepath.Dir(kept) != cache {
		t.Fatalf("the model is at %s, %v", kept, err)
	}
	for what, spoil := range map[string]func() error{
		"changed":  func() error { return os.WriteFile(filepath.Join(kept, "weights"), []byte("WEIGHTS\n"), 0o600) },
		"gone":     func() error { return os.Remove(filepath.Join(kept, "weights")) },
		"one more": func() error { return os.WriteFile(filepath.Join(kept, "more"), nil, 0o600) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		c := aStorage(t, blobs, cache).prepared(t)
		if code := InitializeStorage(t.Context(), c); code != 0 {
			t.Errorf("%s: exit code %d", what, code)
		}
		holds(t, filepath.Join(c.Storage.Model.Dir, "model/weights"), "weights\n")
	}
	c := aStorage(t, blobs, cache).prepared(t)
	blobs.Put("acct/data/run/model/weights", "newer\n")
	if code := InitializeStorage(t.Context(), c); code != 0 {
		t.Errorf("exit code %d", code)
	}
	holds(t, filepath.Join(c.Storage.Model.Dir, "model/weights"), "newer\n")
	holds(t, filepath.Join(pods[0].Storage.Model.Dir, "model/weights"), "weights\n")
	t.Run("that cannot be used", func(t *testing.T) {
		c := aStorage(t, blobs, filepath.Join(cache, "none")).prepared(t)
		if code := InitializeStorage(t.Context(), c); code != 0 {
			t.Errorf("exit code %d", code)
		}
		holds(t, filepath.Join(c.Storage.Model.Dir, "model/weights"), "weights\n")
	})
}

func FuzzParseStorage(f *testing.F) {
	f.Add([]byte(`{"blobBase":"https://x/blob","model":{"url":"https://x/blob/a/c/m/","dir":"/m"},"cache":"/c"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseStorage(b); err == nil && s.Model != nil && (!filepath.IsAbs(s.Model.Dir) || bytes.ContainsRune([]byte(s.Model.URL), 0)) {
			t.Errorf("%s is accepted", b)
		}
	})
}

// TestStorageInS3: a model, be it a folder or a file, comes from a datastore in S3 of the same control plane.
func TestStorageInS3(t *testing.T) {
	s := s3test.Start(t)
	s.Bucket(t, "lake")
	s.Put(t, "lake", "m/weights", "weights\n")
	front := datastorestest.New(t, datastorestest.Config{Datastores: map[string]string{"lake": datastorestest.Body(s.Endpoint, "")}})
	for url, file := range map[string]string{"/lake/m": "m/weights", "/lake/m/weights": "weights"} {
		c := aStorage(t, blobtest.New(t), t.TempDir()).prepared(t)
		c.Storage.BlobBase, c.Storage.Code = strings.TrimSuffix(front.Base, "/datastores")+"/blob/", nil
		c.Storage.Model.URL = front.Account + url
		if code := InitializeStorage(t.Context(), c); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		holds(t, filepath.Join(c.Storage.Model.Dir, file), "weights\n")
	}
}
