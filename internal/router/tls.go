package router

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// reloadEvery is how often the certificate's files are looked at.
const reloadEvery = 5 * time.Second

// certificate is that of the two files in a folder, as they are now.
type certificate struct {
	dir     string
	log     *slog.Logger
	pem     []byte
	current atomic.Pointer[tls.Certificate]
}

func loadCertificate(dir string, log *slog.Logger) (*certificate, error) {
	c := &certificate{dir: dir, log: log}
	return c, c.load()
}

// load reads the files, and keeps what it has if they are no certificate.
func (c *certificate) load() error {
	cert, err := os.ReadFile(filepath.Join(c.dir, "cert.pem"))
	if err != nil {
		return fmt.Errorf("reading the certificate: %w", err)
	}
	key, err := os.ReadFile(filepath.Join(c.dir, "key.pem"))
	if err != nil {
		return fmt.Errorf("reading the certificate's key: %w", err)
	}
	both := append(append(bytes.Clone(cert), 0), key...)
	if bytes.Equal(both, c.pem) {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("reading the certificate in %s: %w", c.dir, err)
	}
	c.pem = both
	c.current.Store(&pair)
	c.log.Info("certificate", "names", pair.Leaf.DNSNames, "until", pair.Leaf.NotAfter)
	return nil
}

func (c *certificate) follow(ctx context.Context) error {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if err := c.load(); err != nil {
				c.log.Error("going on with the certificate as it was", "error", err)
			}
		}
	}
}

// publicServer bounds what a caller may hold without having shown a key: connections that are slow to ask or idle, and large headers.
func publicServer(h http.Handler, cert *certificate, headerTimeout time.Duration) *http.Server {
	s := &http.Server{
		Handler: h, ReadHeaderTimeout: cmp.Or(headerTimeout, 10*time.Second), IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10, Protocols: new(http.Protocols),
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 1000, SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
	s.Protocols.SetHTTP1(true)
	if cert == nil {
		s.Protocols.SetUnencryptedHTTP2(true)
		return s
	}
	s.Protocols.SetHTTP2(true)
	s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert.current.Load(), nil }}
	return s
}
