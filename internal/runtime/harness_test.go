package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/runtime/blobclient/blobtest"
	"fairlead.dev/fairlead/internal/testing/freeport"
)

// pod is what a runtime runs in: temporary folders, a blob front and the output it writes.
type pod struct {
	t     testing.TB
	blobs *blobtest.Server
	cfg   Config
	spec  commonruntime.JobSpec
	out   *buffer
}

const artifacts = "acct/azureml/ExperimentRun/dcid.run1/"

func newPod(t testing.TB, command string) *pod {
	t.Helper()
	dir := t.TempDir()
	p := &pod{t: t, blobs: blobtest.New(t), out: &buffer{}}
	p.spec = commonruntime.JobSpec{Version: commonruntime.Version, Name: "run1", Command: command,
		BlobBase: p.blobs.Base, Artifacts: p.blobs.Base + "/" + artifacts[:len(artifacts)-1]}
	p.cfg = Config{
		SpecPath: filepath.Join(dir, "job.json"), TokenPath: filepath.Join(dir, "token"), LogKeyPath: filepath.Join(dir, "log-key"),
		CAPath: filepath.Join(dir, "ca.crt"), CustomCAPath: filepath.Join(dir, "custom-ca.crt"), WorkDir: filepath.Join(dir, "work"), ResultPath: filepath.Join(dir, "result"),
		PodUID: "pod-a", Nonce: "n1", Environ: []string{"PATH=" + os.Getenv("PATH"), "FROM_IMAGE=yes"}, Stdout: p.out, Stderr: io.Discard,
		HTTP: p.blobs.Client(), FlushEvery: 10 * time.Millisecond,
	}
	p.write(p.cfg.TokenPath, blobtest.Token+"\n")
	p.write(p.cfg.LogKeyPath, "key1")
	return p
}

func (p *pod) write(path, content string) {
	p.t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// run runs the pod to its end and returns its result.
func (p *pod) run(ctx context.Context) commonruntime.Result {
	p.t.Helper()
	b, err := json.Marshal(p.spec)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(p.cfg.SpecPath, string(b))
	code := Run(ctx, p.cfg)
	b, err = os.ReadFile(p.cfg.ResultPath)
	if err != nil {
		p.t.Fatal(err)
	}
	var r commonruntime.Result
	if err := json.Unmarshal(b, &r); err != nil {
		p.t.Fatal(err)
	}
	if code != r.ExitCode {
		p.t.Errorf("exit code %d, result says %d", code, r.ExitCode)
	}
	return r
}

// artifact is the content of a file of the run.
func (p *pod) artifact(name string) string {
	p.t.Helper()
	s, ok := p.blobs.Get(artifacts + name)
	if !ok {
		p.t.Errorf("no artifact %s; there are %v", name, p.blobs.Names(artifacts))
	}
	return s
}

// listen gives the pod a port for live readers and returns its URL.
func (p *pod) listen() string {
	p.t.Helper()
	p.cfg.Listen = freeport.Address(p.t)
	return "http://" + p.cfg.Listen
}

func get(t testing.TB, url, key string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// buffer is a bytes.Buffer that tells when it has something.
type buffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	seen map[string]chan struct{}
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.b.Write(p)
	for s, c := range b.seen {
		if bytes.Contains(b.b.Bytes(), []byte(s)) {
			close(c)
			delete(b.seen, s)
		}
	}
	return n, err
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// has returns a channel that is closed once s was written.
func (b *buffer) has(s string) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := make(chan struct{})
	if bytes.Contains(b.b.Bytes(), []byte(s)) {
		close(c)
		return c
	}
	if b.seen == nil {
		b.seen = map[string]chan struct{}{}
	}
	b.seen[s] = c
	return c
}
