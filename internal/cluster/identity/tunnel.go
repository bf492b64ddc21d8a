package identity

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/httptunnel"
)

// A tunnel is for one request for a token: it ends after tunnelLife, or when tunnelBytes went one way.
const (
	tunnelLife  = time.Minute
	tunnelBytes = 1 << 20
)

// established is the answer to a CONNECT that is granted.
const established = "HTTP/1.1 200 Connection established\r\n\r\n"

// join carries bytes both ways until one side ends.
func join(down net.Conn, buffered io.Reader, up net.Conn) {
	end := time.Now().Add(tunnelLife)
	if errors.Join(down.SetDeadline(end), up.SetDeadline(end)) != nil {
		return
	}
	if _, err := io.WriteString(down, established); err != nil {
		return
	}
	var sending sync.WaitGroup
	sending.Go(func() {
		_, _ = io.CopyN(up, buffered, tunnelBytes)
		up.Close()
	})
	_, _ = io.CopyN(down, up, tunnelBytes)
	down.Close()
	sending.Wait()
}

// Way finds the control plane of an endpoint: its host and port, and how to get there, through the cluster's outbound proxy where there is
// one. via is http.ProxyFromEnvironment but in tests.
func Way(endpoint string, via func(*http.Request) (*url.URL, error)) (target string, dial func(context.Context) (net.Conn, error), err error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		return "", nil, fmt.Errorf("the control plane's address is %q; it must be an https URL", endpoint)
	}
	proxy, err := via(&http.Request{URL: u})
	if err != nil {
		return "", nil, fmt.Errorf("reading the outbound proxy's settings: %w", err)
	}
	target = hostPort(u)
	return target, func(ctx context.Context) (net.Conn, error) {
		if proxy == nil {
			return (&net.Dialer{}).DialContext(ctx, "tcp", target)
		}
		conn, err := through(ctx, proxy, target)
		if err != nil {
			return nil, fmt.Errorf("through the outbound proxy %s: %w", proxy.Host, err)
		}
		return conn, nil
	}, nil
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// through asks an HTTP proxy for a tunnel.
func through(ctx context.Context, proxy *url.URL, target string) (net.Conn, error) {
	if proxy.Scheme != "http" && proxy.Scheme != "https" {
		return nil, fmt.Errorf("scheme %q is not supported; give an http or https URL", proxy.Scheme)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", hostPort(proxy))
	if err != nil {
		return nil, err
	}
	if proxy.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{ServerName: proxy.Hostname(), MinVersion: tls.VersionTLS12})
	}
	header := http.Header{}
	if user := proxy.User; user != nil {
		password, _ := user.Password()
		header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := httptunnel.Ask(ctx, conn, target, header); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}
