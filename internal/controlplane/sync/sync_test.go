package sync

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/controlplane/desired"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/link/linktest"
)

const (
	east = "/subscriptions/s/resourcegroups/g/providers/microsoft.kubernetes/connectedclusters/east"
	west = "/subscriptions/s/resourcegroups/g/providers/microsoft.kubernetes/connectedclusters/west"
	job  = "job/0123456789abcdef0123456789abcdef"
)

// tokens are the principals of the tests: kind and cluster.
var tokens = map[string]resource.Principal{
	"agent-east": {ID: "a", Kind: "Agent", Scope: east}, "ext-east": {ID: "e", Kind: "Extension", Scope: east},
	"agent-west": {ID: "w", Kind: "Agent", Scope: west}, "user": {ID: "u", Kind: "User"}, "agent-none": {ID: "n", Kind: "Agent", Scope: "/gone"},
	"agent-old": {ID: "o", Kind: "Agent", Scope: east, ScopeSeq: 999},
}

func authenticate(r *http.Request) (resource.Principal, error) {
	p, ok := tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	if !ok {
		return p, errors.New("the token is not known")
	}
	if p.Scope == east && p.ScopeSeq == 0 {
		p.ScopeSeq = 1
	}
	if p.Scope == west {
		p.ScopeSeq = 2
	}
	return p, nil
}

type world struct {
	t       *testing.T
	st      store.Store
	desired *desired.Map
	srv     *httptest.Server
}

func newWorld(t *testing.T) *world {
	t.Helper()
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "fairlead.db"))
	if err != nil {
		t.Fatal(err)
	}
	box, err := seal.New(seal.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	m := desired.New(box)
	w := &world{t: t, st: st, desired: m, srv: httptest.NewUnstartedServer(New(Config{Store: st, Desired: m, Authenticate: authenticate}))}
	w.srv.StartTLS()
	t.Cleanup(func() { w.srv.CloseClientConnections(); w.srv.Close(); st.Close() })
	for _, c := range []string{east, west} {
		w.update(func(tx store.Tx) error {
			_, err := tx.Put(t.Context(), store.Record{Key: c, ID: c, Type: "microsoft.kubernetes/connectedclusters", Name: "c", Body: json.RawMessage(`{}`)})
			return err
		})
	}
	return w
}

func (w *world) update(fn func(store.Tx) error) {
	w.t.Helper()
	if err := w.st.Update(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) put(cluster, key, value string) {
	w.t.Helper()
	w.update(func(tx store.Tx) error { return w.desired.Put(w.t.Context(), tx, cluster, key, json.RawMessage(value)) })
}

func (w *world) client(token string, via *linktest.Proxy) *link.Client {
	w.t.Helper()
	cfg := link.Config{Endpoint: w.srv.URL, CA: linktest.CA(w.srv), TokenSource: func(context.Context) (string, error) { return token, nil }, MaxBackoff: 20 * time.Millisecond,
		Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }}
	if via != nil {
		cfg.Proxy = via.URL
	}
	c, err := link.NewClient(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// follow starts a follower; events but bookmarks arrive as "type key value".
func (w *world) follow(c *link.Client, prefix string) <-chan string {
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan string, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = c.Follow(ctx, prefix, func(_ context.Context, e link.Event) error {
			if e.Type == link.EventBookmark && e.Seq == 0 {
				w.t.Error("a bookmark without sequence number")
			}
			if e.Type != link.EventBookmark {
				out <- strings.TrimSpace(e.Type + " " + e.Key + " " + string(e.Value))
			}
			return nil
		})
	}()
	w.t.Cleanup(func() { cancel(); <-done })
	return out
}

func (w *world) expect(ch <-chan string, want ...string) {
	w.t.Helper()
	var got []string
	for range want {
		select {
		case s := <-ch:
			got = append(got, s)
		case <-time.After(10 * time.Second):
			w.t.Fatalf("got %q, want %q", got, want)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Error(diff)
	}
}

func TestDesiredThroughProxyAndOwnCA(t *testing.T) {
	w := newWorld(t)
	p := linktest.NewProxy(t)
	w.put(east, "extension/ml", `{"v":1}`)
	w.put(east, job, `{"v":1}`)
	w.put(west, "extension/other", `{"v":1}`)
	agent, ext := w.follow(w.client("agent-east", p), ""), w.follow(w.client("ext-east", p), "")
	w.expect(agent, "reset", `put extension/ml {"v":1}`, "put "+job+` {"v":1}`)
	w.expect(ext, "reset", "put "+job+` {"v":1}`)
	w.put(west, job, `{"v":9}`) // another cluster's
	w.put(east, "extension/ml", `{"v":2}`)
	w.put(east, job, `{"v":2}`)
	w.expect(agent, `put extension/ml {"v":2}`, "put "+job+` {"v":2}`)
	w.expect(ext, "put "+job+` {"v":2}`)
	if n := p.Tunnels(); n < 2 {
		t.Errorf("%d tunnels went through the proxy", n)
	}
	p.Cut()
	w.update(func(tx store.Tx) error { return tx.DeleteDesired(t.Context(), east, job) })
	w.put(east, "extension/ml", `{"v":3}`)
	w.expect(agent, "delete "+job, `put extension/ml {"v":3}`) // resumed: no reset
	w.expect(ext, "delete "+job)
}

func TestDesiredStartsAgainWhenTooOld(t *testing.T) {
	w := newWorld(t)
	w.put(east, job, `{"v":1}`)
	resume := func(after int64) []link.Event {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("%s%s?after=%d", w.srv.URL, link.DesiredPath, after), nil)
		req.Header.Set("Authorization", "Bearer agent-east")
		req.Header.Set("Accept-Encoding", "gzip")
		res, err := w.srv.Client().Do(req)
		if err != nil || res.StatusCode != 200 {
			t.Fatal(res, err)
		}
		defer res.Body.Close()
		zr, err := gzip.NewReader(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		var got []link.Event
		for sc := bufio.NewScanner(zr); sc.Scan(); {
			e, err := link.ParseEvent(sc.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, e); e.Type == link.EventBookmark {
				return got
			}
		}
		t.Fatal("no bookmark")
		return nil
	}
	first := resume(0)
	seq := first[len(first)-1].Seq
	if len(first) != 3 || first[0].Type != link.EventReset || seq == 0 {
		t.Fatalf("first %v", first)
	}
	if again := resume(seq); len(again) != 1 {
		t.Errorf("resumed %v", again)
	}
	if ahead := resume(seq + 1000); ahead[0].Type != link.EventReset {
		t.Errorf("a number from the future gave %v", ahead)
	}
	w.update(func(tx store.Tx) error { return tx.DeleteDesired(t.Context(), east, job) })
	if c, ok := w.st.(store.Compactor); ok {
		if err := c.Compact(t.Context(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if old := resume(seq); old[0].Type != link.EventReset || len(old) != 2 {
			t.Errorf("after compaction %v", old)
		}
	}
}

func TestObserved(t *testing.T) {
	w := newWorld(t)
	o := link.NewObserver(w.client("agent-east", linktest.NewProxy(t)))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	for i := range 50 {
		if err := o.Set(link.KeyCluster, link.ClusterStatus{TotalNodeCount: i}); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	e, err := w.st.Observed(t.Context(), east, link.KeyCluster)
	var got link.ClusterStatus
	if err != nil || json.Unmarshal(e.Value, &got) != nil || got.TotalNodeCount != 49 {
		t.Errorf("observed %s, %v", e.Value, err)
	}
	if _, err := w.st.Observed(t.Context(), west, link.KeyCluster); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another cluster's map has it: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	value := func(key, v string) string { return fmt.Sprintf(`{"values":[{"key":%q,"value":%s}]}`, key, v) }
	for name, c := range map[string]struct {
		method, path, token, body string
		status                    int
		says                      string
	}{
		"no token":            {"GET", link.DesiredPath, "", "", 401, "not known"},
		"user":                {"GET", link.DesiredPath, "user", "", 403, `kind \"User\"`},
		"deleted cluster":     {"GET", link.DesiredPath, "agent-none", "", 404, "connect it again"},
		"earlier cluster":     {"GET", link.DesiredPath, "agent-old", "", 401, "earlier cluster"},
		"bad after":           {"GET", link.DesiredPath + "?after=-1", "agent-east", "", 400, "after=\\\"-1\\\""},
		"extension's reading": {"GET", link.DesiredPath + "?prefix=extension/ml", "ext-east", "", 403, "extension/"},
		"extension's posting": {"POST", link.ObservedPath, "ext-east", value("extension/ml", "{}"), 403, "extension/ml"},
		"extension heartbeat": {"POST", link.ObservedPath, "ext-east", value("cluster", "{}"), 403, "cluster"},
		"unknown key":         {"POST", link.ObservedPath, "agent-east", value("job/../x", "{}"), 400, "job/../x"},
		"no object":           {"POST", link.ObservedPath, "agent-east", value(job, "null"), 400, "must be a JSON object"},
		"no JSON":             {"POST", link.ObservedPath, "agent-east", "{", 400, "The body is not"},
		"large value":         {"POST", link.ObservedPath, "agent-east", value(job, `{"x":"`+strings.Repeat("x", link.MaxValue)+`"}`), 413, "1048576"},
		"large body":          {"POST", link.ObservedPath, "agent-east", strings.Repeat(" ", link.MaxBody+1), 413, "larger than"},
	} {
		t.Run(name, func(t *testing.T) {
			req, _ := http.NewRequestWithContext(t.Context(), c.method, w.srv.URL+c.path, strings.NewReader(c.body))
			req.Header.Set("Authorization", "Bearer "+c.token)
			res, err := w.srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != c.status || !strings.Contains(string(body), c.says) {
				t.Errorf("%d %s, want %d and %q", res.StatusCode, body, c.status, c.says)
			}
		})
	}
	t.Run("a small body that unpacks to a large one", func(t *testing.T) {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		_, _ = z.Write(bytes.Repeat([]byte(" "), link.MaxBody+1))
		z.Close()
		req, _ := http.NewRequestWithContext(t.Context(), "POST", w.srv.URL+link.ObservedPath, &b)
		req.Header.Set("Authorization", "Bearer agent-east")
		req.Header.Set("Content-Encoding", "gzip")
		res, err := w.srv.Client().Do(req)
		if err != nil || res.StatusCode != 413 {
			t.Errorf("%v, %v", res, err)
		}
	})
}

// TestDeletedClusterEndsItsStream: the agent then learns by a 404 that it is not wanted any more.
func TestDeletedClusterEndsItsStream(t *testing.T) {
	w := newWorld(t)
	req, _ := http.NewRequestWithContext(t.Context(), "GET", w.srv.URL+link.DesiredPath, nil)
	req.Header.Set("Authorization", "Bearer agent-east")
	res, err := w.srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	w.update(func(tx store.Tx) error { return tx.Delete(t.Context(), east) })
	if _, err := io.ReadAll(res.Body); err != nil {
		t.Errorf("the stream ended with %v", err)
	}
}

// TestStreamEndsWithItsToken: a client that holds on to a stream does not outlive its token.
func TestStreamEndsWithItsToken(t *testing.T) {
	w := newWorld(t)
	w.srv.Config.Handler = New(Config{Store: w.st, Authenticate: func(r *http.Request) (resource.Principal, error) {
		p, err := authenticate(r)
		p.Expires = time.Now().Add(time.Second)
		return p, err
	}})
	req, _ := http.NewRequestWithContext(t.Context(), "GET", w.srv.URL+link.DesiredPath, nil)
	req.Header.Set("Authorization", "Bearer agent-east")
	res, err := w.srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 200 || !strings.Contains(string(body), link.EventBookmark) {
		t.Errorf("%d, %q, %v", res.StatusCode, body, err)
	}
}
