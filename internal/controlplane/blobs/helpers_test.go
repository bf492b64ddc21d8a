package blobs

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/testing/s3test"
)

// world is a front on a real listener, over a bucket.
type world struct {
	*Front
	t   *testing.T
	srv *httptest.Server
	now time.Time
}

const acct = "flabcdef012345"

func newWorld(t *testing.T, bucket *blob.Bucket) *world {
	t.Helper()
	return newReplica(t, bucket, nil)
}

// newReplica is a front of one of several that share a bucket and locks.
func newReplica(t *testing.T, bucket *blob.Bucket, locks *keyLocks) *world {
	t.Helper()
	w := &world{t: t, now: time.Now()}
	var lock func(context.Context, string) (func() error, func(), error)
	if locks != nil {
		lock = func(ctx context.Context, name string) (func() error, func(), error) {
			unlock, err := locks.lock(ctx, name)
			return func() error { return nil }, unlock, err
		}
	}
	mux := http.NewServeMux()
	w.srv = httptest.NewServer(ByHost("localhost", mux))
	w.Front = New(Config{Bucket: bucket, PublicURL: w.srv.URL, StorageSuffix: "localhost", TenantID: "a-tenant", SASKey: []byte("0123456789abcdef0123456789abcdef"),
		Lock: lock, Clock: func() time.Time { return w.now },
		Verify: func(r *http.Request) (resource.Principal, error) {
			if r.Header.Get("Authorization") != "Bearer good" {
				return resource.Principal{}, errors.New("the token is not known")
			}
			return resource.Principal{ID: "u", Kind: "User"}, nil
		},
		Authorize: func(_ context.Context, _ resource.Principal, account, _, name string, write bool) error {
			if account != acct || (write && !strings.HasPrefix(name, "mine/")) {
				return arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "not yours")
			}
			return nil
		}})
	mux.Handle(PathPrefix, w.Handler())
	t.Cleanup(func() { w.srv.Close(); bucket.Close() })
	return w
}

// s3store is an S3 store for all tests of the package.
var s3store s3test.Shared

func TestMain(m *testing.M) {
	for k, v := range map[string]string{"AWS_ACCESS_KEY_ID": s3test.AccessKeyID, "AWS_SECRET_ACCESS_KEY": s3test.SecretAccessKey} {
		if err := os.Setenv(k, v); err != nil {
			panic(err)
		}
	}
	if dir := os.Getenv(serveDir); dir != "" {
		serveFolder(dir)
	}
	code := m.Run()
	s3store.Stop()
	os.Exit(code)
}

// openS3 opens a bucket of its own for a test.
func openS3(t *testing.T) *blob.Bucket {
	t.Helper()
	server, name := s3store.Bucket(t)
	b, err := Open(t.Context(), "s3://"+name+"?use_path_style=true&region="+s3test.Region+"&endpoint="+url.QueryEscape(server.Endpoint))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// eachBucket runs a test over memory, over a folder and over S3.
func eachBucket(t *testing.T, test func(t *testing.T, w *world)) {
	t.Run("memory", func(t *testing.T) { test(t, newWorld(t, memblob.OpenBucket(nil))) })
	t.Run("folder", func(t *testing.T) {
		b, err := Open(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		test(t, newWorld(t, b))
	})
	t.Run("s3", func(t *testing.T) { test(t, newWorld(t, openS3(t))) })
}

func newRequest(t *testing.T) *http.Request {
	return httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/", nil)
}

type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request; headers are "Key: value". Without a query a signature for everything is added.
func (w *world) do(method, name, query, body string, headers ...string) answer {
	w.t.Helper()
	u := w.SAS(acct, "azureml", "", "racwdl", time.Hour)
	base, sig, _ := strings.Cut(u, "?")
	if name != "" {
		base += "/" + name
	}
	if query != "" {
		sig += "&" + query
	}
	return w.raw(method, base+"?"+sig, body, headers...)
}

func (w *world) raw(method, url, body string, headers ...string) answer {
	w.t.Helper()
	var rd io.Reader = strings.NewReader(body)
	if body == "" && method != http.MethodPut {
		rd = nil
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, url, rd)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		req.Header.Set(k, v)
	}
	res, err := w.srv.Client().Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(got)}
}

func (w *world) want(a answer, status int, code string) answer {
	w.t.Helper()
	if a.status != status || (code != "" && a.header.Get("x-ms-error-code") != code) {
		w.t.Fatalf("status %d, code %q, want %d %q; body %s", a.status, a.header.Get("x-ms-error-code"), status, code, a.body)
	}
	return a
}
