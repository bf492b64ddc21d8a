package blobclient_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/controlplane/datastores/datastorestest"
	"fairlead.dev/fairlead/internal/runtime/blobclient"
	"fairlead.dev/fairlead/internal/testing/s3test"
)

// lake is a client of a datastore in somebody else's S3, behind the control plane's front.
type lake struct {
	*blobclient.Client
	s *s3test.Server
	// root is the datastore's address; its objects are below the folder "team" of the bucket.
	root string
}

// roundTripper is an http.RoundTripper that is a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func newLake(t *testing.T, cfg datastorestest.Config, transport http.RoundTripper) lake {
	t.Helper()
	s := s3test.Start(t)
	s.Bucket(t, "lake")
	if cfg.Datastores == nil {
		cfg.Datastores = map[string]string{"lake": datastorestest.Body(s.Endpoint, `"prefix":"team",`)}
	}
	front := datastorestest.New(t, cfg)
	if transport == nil {
		transport = http.DefaultTransport
	}
	c, err := blobclient.New(blobclient.Config{Base: "http://blobs.invalid/blob", Datastores: front.Base + "/", HTTP: &http.Client{Transport: transport},
		Token: func() (string, error) { return "run", nil }, Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }})
	if err != nil {
		t.Fatal(err)
	}
	return lake{c, s, front.Account + "/lake"}
}

func fetched(t *testing.T, c *blobclient.Client, url string, size int64) []byte {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := c.Download(t.Context(), url, f, size, nil); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestS3_UploadAndDownload(t *testing.T) {
	l := newLake(t, datastorestest.Config{}, nil)
	for name, size := range map[string]int{"empty": 0, "small": 100, "one part": 8 << 20, "many parts": 3*(16<<20) + 17} {
		t.Run(name, func(t *testing.T) {
			data := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
			key := "dir/" + name + " b#?%+.bin"
			url := blobclient.Join(l.root, key)
			if err := l.Upload(t.Context(), url, bytes.NewReader(data), int64(size)); err != nil {
				t.Fatal(err)
			}
			if got, ok := l.s.Get(t, "lake", "team/"+key); !ok || got != string(data) {
				t.Errorf("the store has %d bytes, not the %d sent", len(got), size)
			}
			if p, err := l.Head(t.Context(), url); err != nil || p.Size != int64(size) || p.ETag == "" || (p.MD5 == nil) != (size > 8<<20) {
				t.Errorf("%+v, %v", p, err)
			}
			for _, told := range []int64{-1, int64(size)} {
				if got := fetched(t, l.Client, url, told); !bytes.Equal(got, data) {
					t.Errorf("what came back differs: %d bytes", len(got))
				}
			}
			for range 2 {
				if err := l.Delete(t.Context(), url); err != nil {
					t.Error(err)
				}
			}
			if _, err := l.Head(t.Context(), url); !blobclient.IsNotFound(err) {
				t.Errorf("after deletion: %v", err)
			}
		})
	}
}

func TestS3_List(t *testing.T) {
	l := newLake(t, datastorestest.Config{}, nil)
	want := []string{"a b & c+d%41.py", "sub/é"}
	for i := range 1100 { // more than a page
		want = append(want, fmt.Sprintf("n/%04d", i))
	}
	for _, n := range want {
		l.s.Put(t, "lake", "team/code/"+n, n)
	}
	l.s.Put(t, "lake", "team/code2/no", "")
	l.s.Put(t, "lake", "code/no", "")
	var got []string
	err := l.List(t.Context(), l.root+"/code", func(b blobclient.Blob) error {
		got = append(got, b.Name)
		if b.Size != int64(len(b.Name)) || b.Modified.IsZero() {
			t.Errorf("%+v", b)
		}
		if strings.HasPrefix(b.Name, "n/") && b.Name != "n/0000" {
			return nil
		}
		p, err := l.ReadSmall(t.Context(), b.URL, 100)
		if string(p) != b.Name {
			t.Errorf("%s: %q %v", b.URL, p, err)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

// TestS3_TwoWriters: an upload that becomes unwanted while its parts are sent does not get the name, and leaves no parts.
func TestS3_TwoWriters(t *testing.T) {
	l := newLake(t, datastorestest.Config{}, nil)
	const size = 8<<20 + 1
	url := blobclient.Join(l.root, "big")
	send := func(fill string, lastly func() error) error {
		asked := 0
		return l.UploadIf(t.Context(), url, strings.NewReader(strings.Repeat(fill, size)), size, func(context.Context) error {
			if asked++; asked == 2 {
				return lastly()
			}
			return nil
		})
	}
	unwanted := errors.New("unwanted")
	err := send("n", func() error {
		if left := l.s.Uploads(t, "lake"); len(left) == 0 {
			t.Error("parts under way are not found")
		}
		if err := send("o", func() error { return unwanted }); !errors.Is(err, unwanted) {
			t.Errorf("the unwanted upload: %v", err)
		}
		return nil
	})
	if got, _ := l.s.Get(t, "lake", "team/big"); err != nil || got != strings.Repeat("n", size) {
		t.Errorf("%v; %d bytes, %d of them the other's", err, len(got), strings.Count(got, "o"))
	}
	if left := l.s.Uploads(t, "lake"); len(left) > 0 {
		t.Errorf("uploads that nobody ends: %v", left)
	}
}

// TestS3_AnswersLost: everything that was done is done again, and the end of an upload in parts is recognised.
func TestS3_AnswersLost(t *testing.T) {
	var lost, signed atomic.Int32
	l := newLake(t, datastorestest.Config{}, roundTripper(func(r *http.Request) (*http.Response, error) {
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil || !r.URL.Query().Has("X-Amz-Signature") {
			return res, err
		}
		if signed.Add(1)%2 == 1 { // each request that a signature leads to is made twice
			lost.Add(1)
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
			return nil, io.ErrUnexpectedEOF
		}
		return res, nil
	}))
	data := bytes.Repeat([]byte("x"), 8<<20+1)
	url := blobclient.Join(l.root, "big")
	if err := l.Upload(t.Context(), url, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	if got := fetched(t, l.Client, url, int64(len(data))); !bytes.Equal(got, data) || lost.Load() < 5 {
		t.Errorf("%d bytes, %d answers lost", len(got), lost.Load())
	}
}

// TestS3_SignaturesEnd: an address that is not accepted any more is asked for anew.
func TestS3_SignaturesEnd(t *testing.T) {
	var asked atomic.Int32
	l := newLake(t, datastorestest.Config{Clock: func() time.Time {
		if asked.Add(1)%2 == 1 {
			return time.Now().Add(-2 * time.Hour)
		}
		return time.Now()
	}}, nil)
	l.s.Put(t, "lake", "team/a", "hello")
	for range 3 {
		if b, err := l.ReadSmall(t.Context(), l.root+"/a", 10); err != nil || string(b) != "hello" {
			t.Fatal(string(b), err)
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times; a good address is to be used again", n)
	}
}

func TestS3_ContentChanges(t *testing.T) {
	l := newLake(t, datastorestest.Config{}, nil)
	url := l.root + "/a"
	if err := l.Put(t.Context(), url, []byte("first")); err != nil {
		t.Fatal(err)
	}
	p, err := l.Head(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	read := func() error { return l.DownloadRange(t.Context(), url, p.ETag, io.NewOffsetWriter(f, 0), 1, 3) }
	if err := read(); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(f.Name()); string(b) != "irs" {
		t.Errorf("range %q", b)
	}
	if err := l.Put(t.Context(), url, []byte("other")); err != nil {
		t.Fatal(err)
	}
	var se *blobclient.StatusError
	if err := read(); !errors.As(err, &se) || !se.Changed() {
		t.Errorf("reading on of another version: %v", err)
	}
}

// TestS3_Errors name the store, not the control plane, and hold no signature.
func TestS3_Errors(t *testing.T) {
	s := s3test.Start(t)
	s.Bucket(t, "lake")
	wrong := strings.Replace(datastorestest.Body(s.Endpoint, ""), s3test.SecretAccessKey, "wrong", 1)
	l := newLake(t, datastorestest.Config{Datastores: map[string]string{"lake": wrong}}, nil)
	for name, c := range map[string]struct{ url, want string }{
		"a wrong key":  {l.root + "/a", "GET " + s.Endpoint + "/lake/a: 403 Forbidden (SignatureDoesNotMatch)"},
		"no datastore": {strings.TrimSuffix(l.root, "lake") + "pond/a", "404 Not Found (NoSuchBucket): there is no datastore pond"},
	} {
		t.Run(name, func(t *testing.T) {
			c2, err := blobclient.New(blobclient.Config{Base: "http://blobs.invalid/blob", Datastores: l.root[:strings.Index(l.root, "/fl")],
				Token: func() (string, error) { return "run", nil }, DeniedFor: time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c2.ReadSmall(t.Context(), c.url, 10); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "X-Amz") {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
