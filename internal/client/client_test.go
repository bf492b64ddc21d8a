package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/arm"
)

// noWait makes pauses instant and remembers them.
type noWait struct {
	mu   sync.Mutex
	took []time.Duration
}

func (n *noWait) sleep(ctx context.Context, d time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.took = append(n.took, d)
	return ctx.Err()
}

func serve(t *testing.T, h http.HandlerFunc, token TokenFunc) (*Client, *noWait) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	n := &noWait{}
	c, err := New(Config{Endpoint: srv.URL + "/", Token: token, Sleep: n.sleep, UserAgent: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return c, n
}

func TestDo_Retry(t *testing.T) {
	calls := 0
	c, n := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls++; calls < 3 {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, `{"ok":true}`)
	}, nil)
	if _, err := c.Do(t.Context(), Request{Method: "POST", Path: "/x"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]time.Duration{7 * time.Second, 7 * time.Second}, n.took); diff != "" {
		t.Error(diff)
	}
}

func TestDo_PostIsNotRepeatedAfterGatewayTimeout(t *testing.T) {
	calls := 0
	c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { calls++; w.WriteHeader(http.StatusGatewayTimeout) }, nil)
	if _, err := c.Do(t.Context(), Request{Method: "POST", Path: "/x"}); err == nil || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

func TestDo_RenewsToken(t *testing.T) {
	var seen []string
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		if r.Header.Get("Authorization") != "Bearer new" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}, func(_ context.Context, renew bool) (string, error) {
		return map[bool]string{false: "old", true: "new"}[renew], nil
	})
	if _, err := c.Do(t.Context(), Request{Method: "GET", Path: "/x"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Bearer old", "Bearer new"}, seen); diff != "" {
		t.Error(diff)
	}
}

func TestDo_TokenStaysAtItsOrigin(t *testing.T) {
	var leaked string
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { leaked = r.Header.Get("Authorization") }))
	defer other.Close()
	c, _ := serve(t, func(http.ResponseWriter, *http.Request) {}, func(context.Context, bool) (string, error) { return "secret", nil })
	if _, err := c.Do(t.Context(), Request{Method: "GET", Path: other.URL + "/nextLink"}); err != nil {
		t.Fatal(err)
	}
	if leaked != "" {
		t.Errorf("the token was sent to another host: %q", leaked)
	}
}

func TestDo_Errors(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"resource manager": {404, `{"error":{"code":"ResourceNotFound","message":"gone"}}`, "ResourceNotFound: gone"},
		"token endpoint":   {400, `{"error":"invalid_client","error_description":"wrong secret"}`, "invalid_client: wrong secret"},
		"page of a proxy":  {403, "<html>no</html>", "403: GET URL/x: <html>no</html>"},
		"nothing":          {418, "", "418: GET URL/x: I'm a teapot"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(tc.status); fmt.Fprint(w, tc.body) }, nil)
			_, err := c.Do(t.Context(), Request{Method: "GET", Path: "/x"})
			var e *arm.Error
			if !errors.As(err, &e) || e.Status != tc.status {
				t.Fatalf("got %v", err)
			}
			if got := strings.ReplaceAll(err.Error(), c.Endpoint(), "URL"); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestWait(t *testing.T) {
	states := []string{"Creating", "Creating", "Succeeded"}
	c, n := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut:
			w.Header().Set("Azure-AsyncOperation", "http://"+r.Host+"/op")
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(http.StatusCreated)
		case r.URL.Path == "/op":
			fmt.Fprintf(w, `{"status":%q}`, states[0])
			states = states[1:]
		default:
			fmt.Fprint(w, `{"name":"final"}`)
		}
	}, nil)
	res, err := c.Do(t.Context(), Request{Method: "PUT", Path: "/r", Body: map[string]any{}})
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	body, err := c.Wait(t.Context(), res, func(s string) { seen = append(seen, s) })
	if err != nil || string(body) != `{"name":"final"}` {
		t.Errorf("%s, %v", body, err)
	}
	if diff := cmp.Diff([]string{"Creating", "Creating", "Succeeded"}, seen); diff != "" {
		t.Error(diff)
	}
	if n.took[0] != 2*time.Second {
		t.Errorf("Retry-After was not honoured: %v", n.took)
	}
}

func TestWait_Failed(t *testing.T) {
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete {
			w.Header().Set("Azure-AsyncOperation", "/op")
			w.WriteHeader(http.StatusAccepted)
			return
		}
		fmt.Fprint(w, `{"status":"Failed","error":{"code":"ExtensionOperationFailed","message":"no pod"}}`)
	}, nil)
	res, err := c.Do(t.Context(), Request{Method: "DELETE", Path: "/r"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Wait(t.Context(), res, nil); err == nil || err.Error() != "ExtensionOperationFailed: no pod" {
		t.Errorf("got %v", err)
	}
}

func TestList_Pages(t *testing.T) {
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("page") == "" {
			fmt.Fprintf(w, `{"value":[{"name":"a"}],"nextLink":"http://%s/l?page=2"}`, r.Host)
			return
		}
		fmt.Fprint(w, `{"value":[{"name":"b"}]}`)
	}, nil)
	items, err := c.List(t.Context(), "/l", nil, 0)
	if err != nil || len(items) != 2 {
		t.Errorf("%v, %v", items, err)
	}
}

// blobServer is a block blob store that breaks connections on demand.
type blobServer struct {
	mu     sync.Mutex
	staged map[string]int
	puts   int
	// breakAfter cuts every connection after that many block uploads; -1 never.
	breakAfter int
	committed  string
}

func (b *blobServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodGet && q.Get("comp") == "blocklist":
		fmt.Fprint(w, "<BlockList><UncommittedBlocks>")
		for id, n := range b.staged {
			fmt.Fprintf(w, "<Block><Name>%s</Name><Size>%d</Size></Block>", id, n)
		}
		fmt.Fprint(w, "</UncommittedBlocks></BlockList>")
	case q.Get("comp") == "block":
		if b.breakAfter >= 0 && b.puts >= b.breakAfter {
			panic(http.ErrAbortHandler)
		}
		data, _ := io.ReadAll(r.Body)
		b.staged[q.Get("blockid")], b.puts = len(data), b.puts+1
		w.WriteHeader(http.StatusCreated)
	case q.Get("comp") == "blocklist":
		data, _ := io.ReadAll(r.Body)
		b.committed = string(data)
		w.WriteHeader(http.StatusCreated)
	}
}

func TestUpload_Resumes(t *testing.T) {
	b := &blobServer{staged: map[string]int{}, breakAfter: 2}
	c, _ := serve(t, b.ServeHTTP, func(context.Context, bool) (string, error) {
		t.Error("a token was asked for although there is a SAS")
		return "", nil
	})
	to, err := c.Container(c.Endpoint() + "/blob/acc/box?sig=abc%2B&sv=1")
	if err != nil {
		t.Fatal(err)
	}
	const size = 4*BlockSize + 100
	data := strings.NewReader(strings.Repeat("0123456789abcdef", size/16+1)[:size])
	if err := to.Upload(t.Context(), "f", data, size, nil); err == nil {
		t.Fatal("an upload over broken connections succeeded")
	}
	if b.puts != 2 || b.committed != "" {
		t.Fatalf("%d blocks, committed %q", b.puts, b.committed)
	}
	b.mu.Lock()
	b.breakAfter = -1
	b.mu.Unlock()
	var sent int64
	if err := to.Upload(t.Context(), "f", data, size, func(n int64) { sent += n }); err != nil {
		t.Fatal(err)
	}
	if b.puts != 5 {
		t.Errorf("%d blocks were sent in all; the first two should not have been sent again", b.puts)
	}
	if strings.Count(b.committed, "<Latest>") != 5 || sent != size {
		t.Errorf("committed %s, counted %d", b.committed, sent)
	}
}

func TestDownload_ResumesAndChecks(t *testing.T) {
	content := strings.Repeat("x", 1000) + strings.Repeat("y", 1000)
	var ranges []string
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		ranges = append(ranges, r.Header.Get("Range"))
		var off int
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &off); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)-off))
		w.WriteHeader(http.StatusPartialContent)
		if off == 0 {
			fmt.Fprint(w, content[:1200])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		fmt.Fprint(w, content[off:])
	}, nil)
	from, err := c.Container(c.Endpoint() + "/blob/a/b?sig=x")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	sum := md5Header([]byte(content), "M").Get("M")
	blob := Blob{Name: "p/f", ETag: `"1"`, MD5: sum, Size: int64(len(content))}
	if err := from.Download(t.Context(), root, blob, "sub/f", nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"bytes=0-", "bytes=1200-"}, ranges); diff != "" {
		t.Error(diff)
	}
	got, err := os.ReadFile(dir + "/sub/f")
	if err != nil || string(got) != content {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := from.Download(t.Context(), root, blob, "sub/f", nil); err != nil || len(ranges) != 2 {
		t.Errorf("a complete file was fetched again: %v, %v", ranges, err)
	}
	blob.MD5 = base64.StdEncoding.EncodeToString(make([]byte, 16))
	if err := from.Download(t.Context(), root, blob, "g", nil); err == nil || !strings.Contains(err.Error(), "checksum differs") {
		t.Errorf("got %v", err)
	}
}

func TestDownload_StaysInside(t *testing.T) {
	c, _ := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("fetched") }, nil)
	from, err := c.Container(c.Endpoint() + "/blob/a/b")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := os.Symlink("/tmp", dir+"/out"); err != nil {
		t.Fatal(err)
	}
	for _, rel := range []string{"../x", "/etc/x", "a/../../x", "", "out/x"} {
		if err := from.Download(t.Context(), root, Blob{Name: rel, Size: 1}, rel, nil); err == nil {
			t.Errorf("%q was accepted", rel)
		}
	}
}

func TestUntrustedCertificate(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	srv.Config.ErrorLog = nil
	c, err := New(Config{Endpoint: srv.URL, Sleep: (&noWait{}).sleep})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Do(t.Context(), Request{Method: "GET", Path: "/"})
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "--ca-file") {
		t.Errorf("got %v", err)
	}
}

func TestRedact(t *testing.T) {
	var lines []string
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	c, err := New(Config{Endpoint: srv.URL, Trace: func(f string, a ...any) { lines = append(lines, fmt.Sprintf(f, a...)) }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(t.Context(), Request{Method: "GET", Path: "/b?sig=SECRET&sv=1"}); err != nil {
		t.Fatal(err)
	}
	if s := strings.Join(lines, "\n"); strings.Contains(s, "SECRET") || !strings.Contains(s, "sv=1") {
		t.Errorf("traced %s", s)
	}
}
