package runtime

import (
	"context"
	"crypto/sha256"
	_ "embed" // the scoring server
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/runtime/blobclient"
	"fairlead.dev/fairlead/internal/runtime/podenv"
)

// scoringServer is put beside the runtime for images without the ecosystem's.
//
//go:embed inference_server.py
var scoringServer []byte

// storageRetry bounds how long the control plane is waited for before the pod starts anew, with a word on why.
const storageRetry = 10 * time.Minute

// StorageConfig is where a storage-initializer finds things.
type StorageConfig struct {
	Storage commonruntime.Storage
	// Self is the runtime's own program, BinDir where it and the scoring server are put.
	Self, BinDir string
	// TokenPath and ResultPath are as in Config.
	TokenPath, ResultPath string
	PodUID                string
	Stderr                io.Writer
	RetryFor              time.Duration
}

// StorageFromEnvironment is the configuration in a pod.
func StorageFromEnvironment(self string) (StorageConfig, error) {
	c := StorageConfig{Self: self, BinDir: commonruntime.BinDir, TokenPath: commonruntime.TokenPath, ResultPath: commonruntime.ReasonPath,
		PodUID: os.Getenv(podenv.PodUID), Stderr: os.Stderr, RetryFor: storageRetry}
	var err error
	c.Storage, err = ParseStorage([]byte(os.Getenv(commonruntime.StorageEnv)))
	return c, err
}

// ParseStorage reads and checks what a pod is to fetch.
func ParseStorage(b []byte) (commonruntime.Storage, error) {
	var s commonruntime.Storage
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("reading %s: %w", commonruntime.StorageEnv, err)
	}
	for name, f := range map[string]*commonruntime.Fetch{"model": s.Model, "code": s.Code} {
		if f != nil && (!httpURL(f.URL) || !filepath.IsAbs(f.Dir)) {
			return s, fmt.Errorf("%s is to come from %q into %q; they must be an http or https URL and an absolute path", name, f.URL, f.Dir)
		}
	}
	return s, nil
}

// InitializeStorage brings model, code and scoring server into a pod, and returns the exit code for the process.
func InitializeStorage(ctx context.Context, cfg StorageConfig) int {
	log := slog.New(slog.NewTextHandler(cfg.Stderr, nil))
	err := cfg.initialize(ctx, log)
	if err == nil {
		return 0
	}
	log.Error("the pod cannot serve", "error", err)
	res := commonruntime.Result{Phase: commonruntime.PhasePreparing, ExitCode: 1, Code: commonruntime.CodeFetchFailed, Message: err.Error()}
	if werr := (Config{ResultPath: cfg.ResultPath}).writeResult(res); werr != nil {
		log.Error("result not written", "error", werr)
	}
	return 1
}

func (c StorageConfig) initialize(ctx context.Context, log *slog.Logger) error {
	if c.Storage.Server {
		if err := Install(c.Self, filepath.Join(c.BinDir, "fairlead-runtime")); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(c.BinDir, commonruntime.ServerFile), scoringServer, 0o644); err != nil {
			return fmt.Errorf("writing the scoring server: %w", err)
		}
	}
	if c.Storage.Model == nil && c.Storage.Code == nil {
		return nil
	}
	blobs, err := blobclient.New(blobclient.Config{
		Base: c.Storage.BlobBase, Datastores: commonruntime.DatastoresBeside(c.Storage.BlobBase), HTTP: httpClient([]byte(c.Storage.CA)), RetryFor: c.RetryFor, DeniedFor: 30 * time.Second, Token: c.token,
		OnRetry: func(err error, wait time.Duration) {
			log.Warn("trying again", "after", wait.Round(time.Millisecond), "error", err)
		},
	})
	if err != nil {
		return err
	}
	f := fetcher{blobs: blobs}
	if code := c.Storage.Code; code != nil {
		if n, err := f.folder(ctx, code.URL, code.Dir); err != nil || n == 0 {
			return fmt.Errorf("fetching code from %s: %w", code.URL, orEmpty(err))
		}
		log.Info("code is here", "folder", code.Dir)
	}
	if model := c.Storage.Model; model != nil {
		if err := c.model(ctx, f, *model, log); err != nil {
			return fmt.Errorf("fetching model from %s: %w", model.URL, err)
		}
	}
	return nil
}

var errEmpty = errors.New("the folder has no files")

func orEmpty(err error) error {
	if err == nil {
		return errEmpty
	}
	return err
}

func (c StorageConfig) token() (string, error) {
	return Config{TokenPath: c.TokenPath}.readToken()
}

// tree is a model's files and what their content is called by.
type tree struct {
	files []blobclient.Blob
	// single says that the model is one file and no folder.
	single bool
}

// model brings a model into a folder of the pod, below the last name of its URL, by way of the node's cache where there is one.
func (c StorageConfig) model(ctx context.Context, f fetcher, model commonruntime.Fetch, log *slog.Logger) error {
	start, at := time.Now(), filepath.Join(model.Dir, baseName(model.URL))
	if !f.blobs.Owns(model.URL) {
		return f.file(ctx, model.URL, at, -1, nil, "")
	}
	t, err := list(ctx, f.blobs, model.URL)
	if err != nil {
		return err
	}
	if t.single {
		at = model.Dir
	}
	digest, known := t.digest()
	if c.Storage.Cache != "" && known {
		dir, hit, err := modelCache{c.Storage.Cache, c.PodUID}.get(ctx, digest, t, f)
		if err == nil {
			log.Info("model is here", "files", len(t.files), "digest", digest, "onNode", hit, "took", time.Since(start).Round(time.Millisecond))
			return t.link(dir, at)
		}
		if !errors.Is(err, errCache) {
			return err
		}
		log.Warn("the node's cache of models cannot be used", "error", err)
	}
	if err := t.fetch(ctx, f, at); err != nil {
		return err
	}
	log.Info("model is here", "files", len(t.files), "onNode", false, "took", time.Since(start).Round(time.Millisecond))
	return nil
}

// list finds a model's files. A URL that ends in no slash may be a folder too.
func list(ctx context.Context, blobs *blobclient.Client, url string) (tree, error) {
	var t tree
	err := blobs.List(ctx, url, func(b blobclient.Blob) error {
		if strings.HasSuffix(b.Name, "/") { // a folder marker
			return nil
		}
		local, err := localName(b.Name)
		b.Name = local
		t.files = append(t.files, b)
		return err
	})
	if err != nil || len(t.files) > 0 {
		return t, err
	}
	p, err := blobs.Head(ctx, strings.TrimRight(url, "/"))
	if blobclient.IsNotFound(err) {
		return t, errors.New("there is neither a folder with files nor a file; was the model deleted?")
	}
	t.single = true
	t.files = []blobclient.Blob{{Name: baseName(url), URL: strings.TrimRight(url, "/"), Size: p.Size, MD5: p.MD5}}
	return t, err
}

// digest names the content of a tree; false when the store does not know all of it.
func (t tree) digest() (string, bool) {
	lines := make([]string, 0, len(t.files))
	for _, b := range t.files {
		if b.MD5 == nil {
			return "", false
		}
		lines = append(lines, fmt.Sprintf("%q %d %x %s\n", b.Name, b.Size, b.MD5, b.Mode))
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "")))
	return hex.EncodeToString(sum[:]), true
}

// link makes a tree of folders with a link to each file of dir. The folders are real, since scripts that search a model's folder seldom
// look behind links to folders.
func (t tree) link(dir, at string) error {
	for _, b := range t.files {
		path := filepath.Join(at, b.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("making folder: %w", err)
		}
		if err := os.Symlink(filepath.Join(dir, b.Name), path); err != nil {
			return fmt.Errorf("leading to the node's copy: %w", err)
		}
	}
	return nil
}

// fetch brings a tree's files, each checked by its size and, where the store has one, its MD5.
func (t tree) fetch(ctx context.Context, f fetcher, dir string) error {
	g, gctx := f.group(ctx)
	for _, b := range t.files {
		g.Go(func() error { return f.file(gctx, b.URL, filepath.Join(dir, b.Name), b.Size, b.MD5, b.Mode) })
	}
	return g.Wait()
}
