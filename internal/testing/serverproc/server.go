// Package serverproc starts a control plane in a process of its own, as users do, for tests that look at it from outside, and
// plays clusters that are connected to it.
package serverproc

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/testing/freeport"
)

// APIVersion ends paths of the resource manager.
const APIVersion = "?api-version=2024-04-01"

// Admin is the content of admin.json.
type Admin struct{ TenantID, ClientID, ClientSecret, SubscriptionID, CAFile string }

// Server is a control plane and its administrator's client.
type Server struct {
	Client
	Admin
	PID int
	Dir string
	// Addr is where it listens.
	Addr string
	cmd  *exec.Cmd
	once sync.Once
}

// Config says what to start.
type Config struct {
	// Program is the path of fairlead.
	Program string
	// Host is the public URL's; "" is 127.0.0.1.
	Host string
	// Dir is the data folder, which replicas share; "" is a fresh one.
	Dir string
	// PublicURL is where a load balancer before several servers is; "" is the server's own address.
	PublicURL string
	// Args are further flags.
	Args []string
	// Conns is how many connections the administrator's client keeps.
	Conns int
}

// Start starts a control plane, with its log in a file of its data folder, and stops it when the test ends.
func Start(tb testing.TB, c Config) *Server {
	tb.Helper()
	s := &Server{Dir: c.Dir, Addr: freeport.Address(tb)}
	if s.Dir == "" {
		s.Dir = tb.TempDir()
	}
	own, public := "https://"+s.Addr, c.PublicURL
	if c.Host != "" {
		_, port, _ := net.SplitHostPort(s.Addr)
		own = "https://" + net.JoinHostPort(c.Host, port)
	}
	if public == "" {
		public = own
	}
	log, err := os.Create(filepath.Join(s.Dir, "server-"+strings.ReplaceAll(s.Addr, ":", "-")+".log"))
	if err != nil {
		tb.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command(c.Program, append([]string{"server", "--data-dir", s.Dir, "--listen", s.Addr, "--public-url", public}, c.Args...)...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		tb.Fatalf("starting the server (`make build` makes it): %v", err)
	}
	tb.Cleanup(func() { s.end(syscall.SIGTERM) })
	s.PID = s.cmd.Process.Pid
	if err := s.logIn(tb, own, c.Conns); err != nil {
		text, _ := os.ReadFile(log.Name())
		tb.Fatalf("logging in: %v\n%s", err, text)
	}
	s.Base = public
	return s
}

// Kill ends the server as a crash does.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

func (s *Server) end(signal os.Signal) {
	s.once.Do(func() {
		_ = s.cmd.Process.Signal(signal)
		_ = s.cmd.Wait()
	})
}

// logIn waits for the server and gets the administrator's token.
func (s *Server) logIn(tb testing.TB, base string, conns int) error {
	var err error
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("it did not answer in 30 s: %w", err)
		}
		var raw, pem []byte
		if raw, err = os.ReadFile(filepath.Join(s.Dir, "admin.json")); err != nil {
			continue
		}
		if err = json.Unmarshal(raw, &s.Admin); err != nil {
			return err
		}
		if pem, err = os.ReadFile(s.CAFile); err != nil {
			continue
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		s.Client = NewClient(tb, base, &tls.Config{RootCAs: pool}, conns)
		if err = s.TokenOf(s.TenantID, url.Values{"client_id": {s.ClientID}, "client_secret": {s.ClientSecret}}); err == nil {
			return nil
		}
	}
}

// Client is HTTPS with connections that are kept.
type Client struct {
	HTTP        *http.Client
	Base, Token string
}

// NewClient makes a client that keeps so many connections. HTTP/1.1 spares a load generator the multiplexing of HTTP/2.
func NewClient(tb testing.TB, base string, conf *tls.Config, conns int) Client {
	t := &http.Transport{TLSClientConfig: conf, MaxIdleConnsPerHost: conns}
	tb.Cleanup(t.CloseIdleConnections)
	return Client{HTTP: &http.Client{Transport: t}, Base: base}
}

// TokenOf asks for a token and uses it from then on.
func (c *Client) TokenOf(tenant string, form url.Values) error {
	form.Set("grant_type", "client_credentials")
	res, err := c.HTTP.PostForm(c.Base+"/"+tenant+"/oauth2/v2.0/token", form)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var body struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&body); err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("token: %s, %w", res.Status, err)
	}
	c.Token = body.Token
	return nil
}

// Do sends a request whose answer must be one of 2xx, and returns the answer's body.
func (c *Client) Do(ctx context.Context, method, path, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 != 2 {
		return nil, fmt.Errorf("%s %s: %s\n%s", method, path, res.Status, bytes.TrimSpace(raw))
	}
	return raw, nil
}

// Await waits until a resource is provisioned.
func (c *Client) Await(tb testing.TB, id string) {
	tb.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(20 * time.Millisecond) {
		raw, err := c.Do(tb.Context(), http.MethodGet, id+APIVersion, "")
		if err != nil {
			tb.Fatal(err)
		}
		var got struct {
			Properties struct{ ProvisioningState string }
		}
		if err := json.Unmarshal(raw, &got); err != nil {
			tb.Fatal(err)
		}
		switch state := got.Properties.ProvisioningState; {
		case state == "Succeeded":
			return
		case state == "Failed" || time.Now().After(deadline):
			tb.Fatalf("%s is %s: %s", id, state, raw)
		}
	}
}
