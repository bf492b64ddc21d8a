package router

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/api/routerload"
	"fairlead.dev/fairlead/internal/router/routertest"
	"fairlead.dev/fairlead/internal/testing/certtest"
)

func TestWebSocket(t *testing.T) {
	model := serveModel(t, func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		for {
			kind, data, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			if err := conn.Write(r.Context(), kind, append([]byte("echo "), data...)); err != nil {
				return
			}
		}
	})
	r := start(t, routertest.One("one", nil, model.addr), nil)
	conn, _, err := websocket.Dial(t.Context(), "ws://"+r.HTTP+"/api/v1/endpoint/one/chat", &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + routertest.Key("one")}}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	for _, text := range []string{"a", "b"} {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if _, data, err := conn.Read(t.Context()); err != nil || string(data) != "echo "+text {
			t.Fatalf("%q %v", data, err)
		}
	}
	r.until(t, "the socket counted as busy", func(l routerload.Load) bool { return l.Busy == 1 })
	conn.Close(websocket.StatusNormalClosure, "")
	r.until(t, "its place given back", func(l routerload.Load) bool { return l.Busy == 0 })
}

func TestGRPC(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	r := start(t, routertest.One("one", nil, listener.Addr().String()), nil)
	conn, err := grpc.NewClient(r.HTTP, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	with := func(key string) context.Context {
		return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+key, "azureml-model-endpoint", "one")
	}
	answer, err := healthpb.NewHealthClient(conn).Check(with(routertest.Key("one")), &healthpb.HealthCheckRequest{})
	if err != nil || answer.Status != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("%v %v", answer, err)
	}
	stream, err := healthpb.NewHealthClient(conn).Watch(with(routertest.Key("one")), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if answer, err := stream.Recv(); err != nil || answer.Status != healthpb.HealthCheckResponse_SERVING {
		t.Fatalf("%v %v", answer, err)
	}
	if _, err := healthpb.NewHealthClient(conn).Check(with("wrong"), &healthpb.HealthCheckRequest{}); err == nil || !strings.Contains(err.Error(), "Unauthenticated") {
		t.Errorf("with a wrong key: %v", err)
	}
	if err := conn.Invoke(with(routertest.Key("one")), "/api/v1/endpoint/one/grpc.health.v1.Health/Check", &healthpb.HealthCheckRequest{}, &healthpb.HealthCheckResponse{}); err != nil {
		t.Errorf("by the path: %v", err)
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) *x509.CertPool {
		cert, key, err := certtest.Pair(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), name)
		if err != nil {
			t.Fatal(err)
		}
		for file, data := range map[string][]byte{"cert.pem": cert, "key.pem": key} {
			if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(cert)
		return pool
	}
	pool := write("one.example")
	model, long := serveModel(t, echo), strings.Repeat("x", 30000)
	r := start(t, routertest.One("one", nil, model.addr), func(c *Config) { c.HTTPSAddr, c.TLSDir = "127.0.0.1:0", dir })
	connect := func(pool *x509.CertPool, name string, http2 bool) error {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: name}, ForceAttemptHTTP2: http2}
		defer transport.CloseIdleConnections()
		a, err := try(t.Context(), &http.Client{Transport: transport}, "https://"+r.HTTPS, "POST", score, strings.NewReader(long))
		if err == nil && (a.status != 200 || a.body != "POST /score "+long) {
			err = fmt.Errorf("status %d, %d bytes", a.status, len(a.body))
		}
		return err
	}
	for _, http2 := range []bool{false, true} {
		if err := connect(pool, "one.example", http2); err != nil {
			t.Errorf("HTTP/2 %v: %v", http2, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.cert.load(); err == nil {
		t.Error("half a certificate is taken")
	}
	if err := connect(pool, "one.example", false); err != nil {
		t.Errorf("after half a change: %v", err)
	}
	next := write("two.example")
	if err := r.cert.load(); err != nil {
		t.Fatal(err)
	}
	if err := connect(next, "two.example", true); err != nil {
		t.Errorf("after the change: %v", err)
	}
}

func TestTrailers(t *testing.T) {
	model := serveModel(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Sum", "42")
	})
	r := start(t, routertest.One("one", nil, model.addr), nil)
	req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://"+r.HTTP+score, nil)
	req.Header.Set("Authorization", "Bearer "+routertest.Key("one"))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	if res.Trailer.Get("X-Sum") != "42" {
		t.Errorf("trailers %v", res.Trailer)
	}
}

func TestAccessLogAndMetrics(t *testing.T) {
	model := serveModel(t, echo)
	r := start(t, routertest.One("one", nil, model.addr), nil)
	ask(t, r, "POST", score+"?secret=1", "hello", "x-ms-client-request-id", "mine").want(t, 200, "hello")
	ask(t, r, "POST", score, "", "Authorization", "Bearer wrong-key").want(t, 401, "")
	res, err := http.Get("http://" + r.Internal + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	found := false
	for s := bufio.NewScanner(res.Body); s.Scan(); {
		found = found || s.Text() == `fairlead_router_request_duration_seconds_count{code="200",deployment="blue",endpoint="one",mirror="false"} 1`
	}
	if !found {
		t.Error("no histogram of the request")
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	log := r.log.String()
	for _, part := range []string{`"endpoint":"one","deployment":"blue"`, `"clientRequestId":"mine"`, `"status":200,"in":5,"out":`, `"status":401,"reason":"Unauthorized"`} {
		if !strings.Contains(log, part) {
			t.Errorf("the access log lacks %s:\n%s", part, log)
		}
	}
	for _, secret := range []string{"secret", "wrong-key", routertest.Key("one")} {
		if strings.Contains(log, secret) {
			t.Errorf("the access log has %q:\n%s", secret, log)
		}
	}
}

// TestTraces: a caller's trace goes on in the model, and the access log has its id.
func TestTraces(t *testing.T) {
	model := serveModel(t, echo)
	r := start(t, routertest.One("one", nil, model.addr), nil)
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	a := ask(t, r, "POST", score, "", "Traceparent", "00-"+id+"-00f067aa0ba902b7-01")
	if got := a.header.Get("X-Seen-Traceparent"); got != "00-"+id+"-00f067aa0ba902b7-01" {
		t.Errorf("the model sees %q", got)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.log.String(), `"traceId":"`+id+`"`) {
		t.Errorf("the access log lacks the trace:\n%s", r.log)
	}
}

// over2 is a client that speaks HTTP/2 without TLS.
func over2(t *testing.T) *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// A stream of gRPC in which the caller is silent for longer than the pod may take to begin its answer goes on.
func TestStreamsBothWays(t *testing.T) {
	model := serveModel(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.WriteHeader(http.StatusOK)
		for message := make([]byte, 1); ; {
			_ = http.NewResponseController(w).Flush()
			if _, err := io.ReadFull(r.Body, message); err != nil {
				return
			}
			_, _ = w.Write(message)
		}
	})
	const timeout = 300 * time.Millisecond
	r := start(t, routertest.One("one", func(d *v1alpha1.OnlineDeployment) { d.Spec.Requests.TimeoutMilliseconds = timeout.Milliseconds() }, model.addr), nil)
	body, caller := io.Pipe()
	defer caller.Close()
	req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://"+r.HTTP+"/api/v1/endpoint/one/chat", body)
	req.Header.Set("Authorization", "Bearer "+routertest.Key("one"))
	req.Header.Set("Content-Type", "application/grpc")
	res, err := over2(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for _, message := range []string{"a", "b", "c"} {
		if _, err := io.WriteString(caller, message); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 1)
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != message {
			t.Fatalf("%q %v, want %q", got, err, message)
		}
		<-time.After(2 * timeout)
	}
}
