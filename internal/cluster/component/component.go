// Package component is what every process of the agent's binary has in common: logging, the cluster's API, the link with the
// token that the agent keeps in a mounted Secret, and probes.
package component

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"fairlead.dev/fairlead/internal/link"
)

// LinkDir is where Secret fairlead-link is mounted.
const LinkDir = "/var/run/fairlead/link"

// Keys of Secret fairlead-link.
const (
	LinkSecret  = "fairlead-link"
	KeyToken    = "token"
	KeyEndpoint = "endpoint"
	KeyCA       = "ca.crt"
)

// Inference reports whether the extension serves online endpoints; its chart says so.
func Inference() bool { return os.Getenv("FAIRLEAD_INFERENCE") == "true" }

// Logger makes the process's logger (JSON lines on standard error) and gives it to the Kubernetes libraries.
func Logger(name string) *slog.Logger {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("component", name)
	slog.SetDefault(log)
	klog.SetSlogLogger(log)
	ctrllog.SetLogger(logr.FromSlogHandler(log.Handler()))
	return log
}

// Kube returns how to reach the API server from inside a pod.
func Kube() (*rest.Config, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("reading the pod's service account: %w", err)
	}
	config.QPS, config.Burst = 100, 200
	return config, nil
}

// Link makes a client from the files of a mounted Secret fairlead-link. The token is read again for every request, as the
// agent renews it.
func Link(dir string, log *slog.Logger) (*link.Client, error) {
	endpoint, err := os.ReadFile(filepath.Join(dir, KeyEndpoint))
	if err != nil {
		return nil, fmt.Errorf("reading the endpoint: %w", err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, KeyCA))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the CA bundle: %w", err)
	}
	return link.NewClient(link.Config{
		Endpoint: strings.TrimSpace(string(endpoint)), CA: ca, Log: log,
		TokenSource: fileToken(filepath.Join(dir, KeyToken)),
	})
}

// HTTP makes a client that trusts the CAs of a mounted Secret fairlead-link, the system's where it has none, for addresses of the control
// plane that are not the link's. It follows no redirects.
func HTTP(dir string) (*http.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	transport.ResponseHeaderTimeout, transport.MaxIdleConnsPerHost = time.Minute, 16
	ca, err := os.ReadFile(filepath.Join(dir, KeyCA))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the CA bundle: %w", err)
	}
	if len(ca) > 0 {
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(ca) {
			return nil, fmt.Errorf("CA bundle %s holds no PEM certificate", filepath.Join(dir, KeyCA))
		}
	}
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

func fileToken(path string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) {
		token, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("reading the token: %w", err)
		}
		return strings.TrimSpace(string(token)), nil
	}
}

// ProxyFromEnvironment gives the proxy variables of this process, which the extension's chart sets from the cluster's settings: what
// a component needs to reach the control plane, pods of users' images need as well.
func ProxyFromEnvironment() map[string]string {
	proxy := map[string]string{}
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"} {
		if value := os.Getenv(name); value != "" {
			proxy[name] = value
		}
	}
	return proxy
}

// ServeHealth answers GET /healthz and /readyz on addr until ctx ends. ready nil means ready as soon as it serves.
func ServeHealth(ctx context.Context, addr string, ready func() error) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listening for probes on %s: %w", addr, err)
	}
	server := &http.Server{Handler: healthHandler(ready), ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving probes on %s: %w", addr, err)
	}
	return ctx.Err()
}

func healthHandler(ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if ready != nil {
			if err := ready(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	return mux
}
