package relaypeers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/rancher/remotedialer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	konnectivity "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/pkg/client"
	frontend "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
	"sigs.k8s.io/apiserver-network-proxy/pkg/agent"
	"sigs.k8s.io/apiserver-network-proxy/pkg/server"
	"sigs.k8s.io/apiserver-network-proxy/pkg/server/proxystrategies"
	agentproto "sigs.k8s.io/apiserver-network-proxy/proto/agent"

	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/link/linktest"
)

// dialer opens a stream to one address of a cluster.
type dialer func(ctx context.Context, addr string) (net.Conn, error)

// system is one relay: connect starts a control plane with n clusters, TLS between them, all in this process, and returns how
// each cluster is reached.
type system struct {
	name    string
	connect func(b *testing.B, n int) []dialer
}

var systems = []system{{"Fairlead", fairlead}, {"remotedialer", dialers}, {"Konnectivity", konnectivities}}

// backends are the addresses of servers in the cluster; Fairlead's targets are names, which the cluster's end resolves.
var backends = map[string]string{}

func fairlead(b *testing.B, n int) []dialer {
	sessions := make(chan *link.RelaySession, n)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := link.AcceptRelay(w, r, nil)
		if err != nil {
			b.Error(err)
			return
		}
		sessions <- s
		<-s.Done()
	}))
	b.Cleanup(srv.Close)
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	var out []dialer
	for range n {
		c, err := link.NewClient(link.Config{Endpoint: srv.URL, CA: linktest.CA(srv), Log: slog.New(slog.DiscardHandler),
			TokenSource: func(context.Context) (string, error) { return "t", nil }, Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }})
		if err != nil {
			b.Fatal(err)
		}
		go func() { _ = link.ServeRelay(ctx, c, clusterEnd) }()
		s := <-sessions
		out = append(out, func(ctx context.Context, addr string) (net.Conn, error) {
			for name, at := range backends {
				if at == addr {
					return s.Open(ctx, link.Target{Kind: link.KindRun, Namespace: name, JobID: "0123456789abcdef0123456789abcdef"})
				}
			}
			return nil, fmt.Errorf("no backend at %s", addr)
		})
	}
	return out
}

// clusterEnd does what relayserver does: it dials the target and copies.
func clusterEnd(ctx context.Context, t link.Target, s net.Conn) {
	c, err := net.Dial("tcp", backends[t.Namespace])
	if link.AnswerTarget(s, err) != nil || err != nil {
		return
	}
	link.Pipe(ctx, s, c)
}

func dialers(b *testing.B, n int) []dialer {
	handler := remotedialer.New(func(r *http.Request) (string, bool, error) { return r.Header.Get("X-Cluster"), true, nil }, remotedialer.DefaultErrorWriter)
	srv := httptest.NewTLSServer(handler)
	b.Cleanup(srv.Close)
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	var out []dialer
	for i := range n {
		name := fmt.Sprintf("cluster-%d", i)
		ws := &websocket.Dialer{TLSClientConfig: clientTLS(srv), HandshakeTimeout: 10 * time.Second}
		go func() {
			_ = remotedialer.ConnectToProxy(ctx, "wss"+srv.URL[len("https"):], http.Header{"X-Cluster": {name}}, func(string, string) bool { return true }, ws, nil)
		}()
		await(b, func() bool { return handler.HasSession(name) })
		dial := handler.Dialer(name)
		out = append(out, func(ctx context.Context, addr string) (net.Conn, error) { return dial(ctx, "tcp", addr) })
	}
	return out
}

// konnectivities has a proxy server for each cluster, as each has its own control plane there: its server picks any agent.
func konnectivities(b *testing.B, n int) []dialer {
	var out []dialer
	for range n {
		out = append(out, oneKonnectivity(b))
	}
	return out
}

func oneKonnectivity(b *testing.B) dialer {
	certs := httptest.NewTLSServer(nil)
	b.Cleanup(certs.Close)
	p := server.NewProxyServer("server", []proxystrategies.ProxyStrategy{proxystrategies.ProxyStrategyDefault}, 1, &server.AgentTokenAuthenticationOptions{}, 150)
	listen := func(register func(*grpc.Server), creds credentials.TransportCredentials) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		s := grpc.NewServer(grpc.Creds(creds), grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Hour}))
		register(s)
		go func() { _ = s.Serve(l) }()
		b.Cleanup(s.Stop)
		return l.Addr().String()
	}
	creds := credentials.NewTLS(&tls.Config{Certificates: certs.TLS.Certificates})
	agents := listen(func(s *grpc.Server) { agentproto.RegisterAgentServiceServer(s, p) }, creds)
	// The API server reaches its proxy over a socket without TLS, as kubeadm and others set it up.
	users := listen(func(s *grpc.Server) { frontend.RegisterProxyServiceServer(s, p) }, insecure.NewCredentials())
	stop := make(chan struct{})
	b.Cleanup(func() { close(stop) })
	config := agent.ClientSetConfig{Address: agents, AgentID: "agent", SyncInterval: time.Second, ProbeInterval: time.Second, SyncIntervalCap: 10 * time.Second,
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(clientTLS(certs)))}, XfrChannelSize: 150}
	set := config.NewAgentClientSet(stop, stop)
	set.SetServerCounter(agent.NewResponseBasedCounter(set))
	set.Serve()
	await(b, func() bool { return set.HealthyClientsCount() > 0 })
	return func(ctx context.Context, addr string) (net.Conn, error) {
		t, err := konnectivity.CreateSingleUseGrpcTunnelWithContext(ctx, context.Background(), users, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, err
		}
		return t.DialContext(ctx, "tcp", addr)
	}
}

func clientTLS(srv *httptest.Server) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	return &tls.Config{RootCAs: roots, ServerName: "example.com"}
}

// await polls for at most 30 s.
func await(b *testing.B, ok func() bool) {
	b.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); <-time.After(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatal("a cluster did not connect in 30 s")
		}
	}
}

// serve starts the cluster's servers: one that sends without end and one that echoes.
func serve(b *testing.B) {
	for name, handle := range map[string]func(net.Conn){
		"bulk": func(c net.Conn) {
			for chunk := make([]byte, link.BufferSize); ; {
				if _, err := c.Write(chunk); err != nil {
					return
				}
			}
		},
		"echo": func(c net.Conn) { _, _ = io.Copy(c, c) },
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { l.Close() })
		backends[name] = l.Addr().String()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { defer c.Close(); handle(c) }()
			}
		}()
	}
}
