package link

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testClient(t *testing.T, srv *httptest.Server) *Client {
	t.Helper()
	c, err := NewClient(Config{Endpoint: srv.URL, TokenSource: func(context.Context) (string, error) { return "tok", nil },
		Silence: time.Second, MaxBackoff: 20 * time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// script answers each connection with the next list of lines; "hang" keeps the connection open in silence.
func script(t *testing.T, conns ...[]string) (*httptest.Server, func() []string) {
	var mu sync.Mutex
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n := len(asked)
		asked = append(asked, r.URL.Query().Get("after"))
		mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer tok" {
			http.Error(w, "who?", 401)
			return
		}
		if n >= len(conns) {
			<-r.Context().Done()
			return
		}
		for _, l := range conns[n] {
			if l == "hang" {
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
				return
			}
			if l == "500" {
				http.Error(w, "later", 500)
				return
			}
			fmt.Fprintln(w, l)
		}
	}))
	t.Cleanup(srv.Close)
	return srv, func() []string { mu.Lock(); defer mu.Unlock(); return append([]string(nil), asked...) }
}

func TestFollowResumes(t *testing.T) {
	srv, asked := script(t,
		[]string{`{"type":"reset"}`, `{"type":"put","key":"job/a","value":{}}`},                                                                // cut inside the snapshot
		[]string{`{"type":"reset"}`, `{"type":"put","key":"job/a","value":{}}`, `{"type":"bookmark","seq":7}`, `{"type":"put","key":"x","seq`}, // cut inside a line
		[]string{"500"},
		[]string{`{"type":"put","seq":9,"key":"job/b","value":{"n":1}}`, "hang"}, // silence
		[]string{`{"type":"delete","seq":11,"key":"job/a"}`, `{"type":"bogus"}`},
		[]string{`{"type":"put","seq":12,"key":"fails","value":{}}`},
		[]string{`{"type":"put","seq":12,"key":"fails","value":{}}`, `{"type":"bookmark","seq":20}`, `{"type":"reset"}`, `{"type":"put","key":"z","value":{}}`},
		[]string{`{"type":"bookmark","seq":30}`},
	)
	ctx, cancel := context.WithCancel(t.Context())
	var got []string
	failed := false
	err := testClient(t, srv).Follow(ctx, "job/", func(_ context.Context, e Event) error {
		if e.Key == "fails" && !failed {
			failed = true
			return fmt.Errorf("cannot now")
		}
		got = append(got, e.Type+" "+e.Key)
		if e.Seq == 30 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("err %v", err)
	}
	want := []string{"reset ", "put job/a", "reset ", "put job/a", "bookmark ", "put job/b", "delete job/a", "put fails", "bookmark ", "reset ", "put z", "bookmark "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"0", "0", "7", "7", "9", "11", "11", "0"}, asked()[:8]); diff != "" {
		t.Error(diff)
	}
}

func TestObserverKeepsTheNewest(t *testing.T) {
	var mu sync.Mutex
	kept := map[string]string{}
	posts := 0
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req ObservedRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
			t.Error(err)
		}
		mu.Lock()
		posts++
		n := posts
		mu.Unlock()
		if n == 1 {
			<-release
			http.Error(w, "not now", 503)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, v := range req.Values {
			if v.Key == "bad" {
				http.Error(w, "bad key", 400)
				return
			}
		}
		for _, v := range req.Values {
			kept[v.Key] = string(v.Value)
		}
		w.WriteHeader(204)
	}))
	defer srv.Close()
	o := NewObserver(testClient(t, srv))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- o.Run(ctx) }()
	for i := range 1200 {
		if err := o.Set(fmt.Sprintf("job/%d", i%600), i); err != nil {
			t.Fatal(err)
		}
	}
	_ = o.Set("bad", 1)
	close(release)
	if err := o.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	if len(kept) != 600 || kept["job/0"] != "600" || kept["job/599"] != "1199" {
		t.Errorf("%d kept, job/0 %s, job/599 %s", len(kept), kept["job/0"], kept["job/599"])
	}
	if err := o.Set("big", string(make([]byte, MaxValue))); err == nil {
		t.Error("a value that is too large was taken")
	}
	if err := o.Set("odd", func() {}); err == nil {
		t.Error("a value that is no JSON was taken")
	}
}

var target = Target{Kind: KindRun, Namespace: "jobs", JobID: "0123456789abcdef0123456789abcdef"}

// relayPair starts a server and a client; sessions arrive on the channel.
func relayPair(t *testing.T, handle func(context.Context, Target, net.Conn)) <-chan *RelaySession {
	t.Helper()
	sessions := make(chan *RelaySession, 4)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer tok" {
			http.Error(w, "who?", 401)
			return
		}
		s, err := AcceptRelay(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		sessions <- s
		<-s.Done()
	}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	c := testClient(t, srv)
	go func() { done <- ServeRelay(ctx, c, handle) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("ServeRelay: %v", err)
		}
		srv.Close()
	})
	return sessions
}

func TestRelayEchoRefusalAndReconnect(t *testing.T) {
	sessions := relayPair(t, func(ctx context.Context, tg Target, c net.Conn) {
		if tg.Rank == 9 {
			_ = AnswerTarget(c, fmt.Errorf("no pod of rank 9"))
			return
		}
		_ = AnswerTarget(c, nil)
		_, _ = io.Copy(c, c)
	})
	s := <-sessions
	for round := range 2 {
		c, err := s.Open(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "hello %d\n", round)
		if line, err := bufio.NewReader(c).ReadString('\n'); line != fmt.Sprintf("hello %d\n", round) {
			t.Errorf("%q, %v", line, err)
		}
		c.Close()
		bad := target
		bad.Rank = 9
		if _, err := s.Open(t.Context(), bad); err == nil || err.Error() != "the cluster refused: no pod of rank 9" {
			t.Errorf("refusal: %v", err)
		}
		bad.Kind = "tcp"
		if _, err := s.Open(t.Context(), bad); err == nil {
			t.Error("another kind was allowed")
		}
		if round == 0 {
			s.Close()
			s = <-sessions // the client comes back
		}
	}
}

func TestRelayOpenTimesOut(t *testing.T) {
	sessions := relayPair(t, func(ctx context.Context, _ Target, _ net.Conn) { <-ctx.Done() }) // never answers
	s := <-sessions
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Open(ctx, target); err == nil || ctx.Err() == nil {
		t.Errorf("err %v", err)
	}
	s.Close()
}

// TestStalledStreamHarmsNobody: a reader that stops fills its own window; other streams go on at full size.
func TestStalledStreamHarmsNobody(t *testing.T) {
	var flooded atomic.Int64
	full := make(chan struct{})
	sessions := relayPair(t, func(ctx context.Context, tg Target, c net.Conn) {
		_ = AnswerTarget(c, nil)
		if tg.Rank == 0 { // floods for ever
			buf := make([]byte, 64<<10)
			for {
				n, err := c.Write(buf)
				if flooded.Add(int64(n)) == relayWindow-int64(len(buf)) { // the next write waits for room
					close(full)
				}
				if err != nil {
					return
				}
			}
		}
		_, _ = io.Copy(c, c)
	})
	s := <-sessions
	stalled, err := s.Open(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	<-full
	other := target
	other.Rank = 1
	c, err := s.Open(t.Context(), other)
	if err != nil {
		t.Fatal(err)
	}
	const total = 8 << 20
	go func() { _, _ = io.CopyN(c, zeros{}, total) }()
	if n, err := io.CopyN(io.Discard, c, total); n != total {
		t.Errorf("%d bytes came back beside a stalled stream: %v", n, err)
	}
	if n := flooded.Load(); n > 2*relayWindow {
		t.Errorf("the stalled stream took %d bytes", n)
	}
	stalled.Close()
	c.Close()
	s.Close()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// FuzzParseTarget: what passes is of an allow-listed kind and safe to put into names.
func FuzzParseTarget(f *testing.F) {
	f.Add([]byte(`{"kind":"run","namespace":"jobs","jobId":"0123456789abcdef0123456789abcdef","rank":1}`))
	f.Add([]byte(`{"kind":"run","namespace":"../x","jobId":"a"}`))
	f.Add([]byte(`{"kind":"tcp"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		tg, err := ParseTarget(line)
		if err == nil && (tg.Kind != KindRun || tg.Rank < 0 || len(tg.JobID) != 32 || len(tg.Namespace) > 63 || tg.Namespace == "") {
			t.Fatalf("%q passed", line)
		}
	})
}

// FuzzParseEvent: what passes can be applied and written again.
func FuzzParseEvent(f *testing.F) {
	f.Add([]byte(`{"type":"put","seq":3,"key":"job/a","value":{"x":1}}`))
	f.Add([]byte(`{"type":"bookmark","seq":-1}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := ParseEvent(line)
		if err != nil {
			return
		}
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseEvent(b); err != nil {
			t.Fatalf("%q became %q: %v", line, b, err)
		}
	})
}
