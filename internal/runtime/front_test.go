package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"gocloud.dev/blob/memblob"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/controlplane/blobs"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/runtime/blobclient"
	"fairlead.dev/fairlead/internal/runtime/blobclient/blobtest"
)

// realFront is the control plane's own blob front; every fourth answer to an append gets lost after it was stored.
func realFront(t *testing.T) *httptest.Server {
	t.Helper()
	bucket := memblob.OpenBucket(nil)
	mux := http.NewServeMux()
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("comp") == "appendblock" && n.Add(1)%4 == 1 {
			mux.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		mux.ServeHTTP(w, r)
	}))
	front := blobs.New(blobs.Config{
		Bucket: bucket, PublicURL: srv.URL, SASKey: []byte("0123456789abcdef0123456789abcdef"),
		Verify: func(r *http.Request) (resource.Principal, error) {
			if r.Header.Get("Authorization") != "Bearer "+blobtest.Token {
				return resource.Principal{}, errors.New("the token is not known")
			}
			return resource.Principal{ID: "run1", Kind: "Run"}, nil
		},
		Authorize: func(context.Context, resource.Principal, string, string, string, bool) error { return nil },
	})
	mux.Handle(blobs.PathPrefix, front.Handler())
	t.Cleanup(func() { srv.Close(); bucket.Close() })
	return srv
}

func TestAgainstTheRealFront(t *testing.T) {
	srv := realFront(t)
	base := srv.URL + strings.TrimRight(blobs.PathPrefix, "/")
	blobc, err := blobclient.New(blobclient.Config{Base: base, HTTP: srv.Client(), Token: func() (string, error) { return blobtest.Token, nil }})
	if err != nil {
		t.Fatal(err)
	}
	const account = "/fl0123456789ab/azureml"
	put := func(name, content string) {
		t.Helper()
		if err := blobc.Put(t.Context(), blobclient.Join(base+account, name), []byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	put("code/run me.sh", "#!/bin/sh\ni=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; cat \"$1\"; head -c 20000000 /dev/zero > outputs/big\n")
	for i := range 30 {
		put(fmt.Sprintf("data/part-%02d", i), fmt.Sprintf("%d\n", i))
	}
	p := newPod(t, `"./run me.sh" ${{inputs.data}}/part-29; cat ${{inputs.data}}/* | wc -l`)
	p.cfg.HTTP = srv.Client()
	p.spec.BlobBase, p.spec.Artifacts, p.spec.Code = base, base+account+"/ExperimentRun/dcid.run1", base+account+"/code"
	p.spec.Inputs = map[string]commonruntime.Input{"data": {Type: "uri_folder", URL: base + account + "/data"}}
	if r := p.run(t.Context()); r.ExitCode != 0 {
		t.Fatalf("result %+v", r)
	}
	read := func(name string) []byte {
		t.Helper()
		b, err := blobc.ReadSmall(t.Context(), p.spec.Artifacts+"/"+name, 1<<30)
		if err != nil {
			t.Error(err)
		}
		return b
	}
	if got := string(read("user_logs/std_log.txt")); got != p.out.String() || !strings.HasSuffix(got, "line 1999\n29\n30\n") {
		t.Errorf("log has %d bytes, %d were written; it ends %q", len(got), len(p.out.String()), got[max(0, len(got)-40):])
	}
	if n := len(read("outputs/big")); n != 20000000 {
		t.Errorf("big output has %d bytes", n)
	}
	p.cfg.PodUID = "pod-b"
	if r := p.run(t.Context()); r.Code != CodeAlreadyClaimed {
		t.Errorf("a second pod got %+v", r)
	}
}

// TestRangesOfTheRealFront: what mounts need beyond what copies do.
func TestRangesOfTheRealFront(t *testing.T) {
	srv := realFront(t)
	base := srv.URL + strings.TrimRight(blobs.PathPrefix, "/")
	c, err := blobclient.New(blobclient.Config{Base: base, HTTP: srv.Client(), Token: func() (string, error) { return blobtest.Token, nil }})
	if err != nil {
		t.Fatal(err)
	}
	folder := base + "/fl0123456789ab/azureml/data"
	url := blobclient.Join(folder, "a b")
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var etags []string
	for _, content := range []string{"0123456789", "abcdefghij"} {
		if err := c.Put(t.Context(), url, []byte(content)); err != nil {
			t.Fatal(err)
		}
		err := c.List(t.Context(), folder, func(b blobclient.Blob) error {
			if b.Modified.IsZero() {
				t.Error("the listing has no time")
			}
			etags = append(etags, b.ETag)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(etags) != 2 || etags[0] == "" || etags[0] == etags[1] {
		t.Fatalf("etags %q", etags)
	}
	if err := c.DownloadRange(t.Context(), url, etags[1], io.NewOffsetWriter(f, 2), 3, 4); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 6)
	if _, err := f.ReadAt(got, 0); err != nil || string(got) != "\x00\x00defg" {
		t.Errorf("got %q, %v", got, err)
	}
	var se *blobclient.StatusError
	if err := c.DownloadRange(t.Context(), url, etags[0], io.NewOffsetWriter(f, 0), 3, 4); !errors.As(err, &se) || !se.Changed() {
		t.Errorf("a range of what was replaced: %v", err)
	}
	for range 2 { // a try whose answer got lost has deleted it all the same
		if err := c.Delete(t.Context(), url); err != nil {
			t.Error(err)
		}
	}
	if _, err := c.Head(t.Context(), url); !blobclient.IsNotFound(err) {
		t.Errorf("after deletion: %v", err)
	}
}
