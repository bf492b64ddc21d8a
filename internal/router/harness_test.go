package router

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/router/routertest"
	"fairlead.dev/fairlead/internal/router/table"
)

// logBuffer is what an access log wrote.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

type running struct {
	*Router
	stop func() error
	log  *logBuffer
}

// start runs a router on loopback that follows no cluster; tests tell it what is there.
func start(t testing.TB, objects table.Objects, change func(*Config)) *running {
	t.Helper()
	log := &logBuffer{}
	cfg := Config{NetHTTP: netHTTP, HTTPAddr: "127.0.0.1:0", InternalAddr: "127.0.0.1:0", Drain: time.Minute, AccessLog: log}
	if change != nil {
		change(&cfg)
	}
	r, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.Follow(objects)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, nil) }()
	stop := sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("the router ended with %v", err)
		}
	})
	return &running{r, stop, log}
}

// backend is a model server; its requests are counted.
type backend struct {
	*httptest.Server
	addr string
	n    atomic.Int64
}

func serveModel(t testing.TB, handle http.HandlerFunc) *backend {
	t.Helper()
	b := &backend{}
	b.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.n.Add(1)
		handle(w, r)
	}))
	b.Config.Protocols = new(http.Protocols)
	b.Config.Protocols.SetHTTP1(true)
	b.Config.Protocols.SetUnencryptedHTTP2(true)
	b.Start()
	t.Cleanup(b.Close)
	b.addr = b.Listener.Addr().String()
	return b
}

// dial opens a connection to the router, for what no client would send.
func (r *running) dial(t testing.TB) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", r.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// says answers with a text.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// echo answers with what it was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.Header().Set("X-Seen-Authorization", r.Header.Get("Authorization"))
	w.Header().Set("X-Seen-Traceparent", r.Header.Get("Traceparent"))
	w.Header().Set("X-Seen-Id", r.Header.Get("X-Request-Id"))
	w.Header().Set("X-Seen-Client-Id", r.Header.Get("X-Ms-Client-Request-Id"))
	_, _ = io.WriteString(w, r.Method+" "+r.RequestURI+" "+string(body))
}

type answer struct {
	status int
	body   string
	header http.Header
}

// ask sends a request with the key of endpoint "one"; headers are pairs, an empty value takes one away.
func ask(t testing.TB, r *running, method, path, body string, headers ...string) answer {
	t.Helper()
	a, err := try(t.Context(), http.DefaultClient, "http://"+r.HTTP, method, path, strings.NewReader(body), headers...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func try(ctx context.Context, client *http.Client, base, method, path string, body io.Reader, headers ...string) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+routertest.Key("one"))
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] == "" {
			req.Header.Del(headers[i])
		} else {
			req.Header.Set(headers[i], headers[i+1])
		}
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, string(text), res.Header}, err
}

const score = "/api/v1/endpoint/one/score"

// want compares a status and a part of the body.
func (a answer) want(t testing.TB, status int, part string) {
	t.Helper()
	if a.status != status || !strings.Contains(a.body, part) {
		t.Errorf("status %d, body %q; want %d and %q", a.status, a.body, status, part)
	}
}
