package bench

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
	"syscall"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/testing/load"
)

// binaryEnv names another program to measure than bin/fairlead.
const binaryEnv = "FAIRLEAD_BENCH_BIN"

// server is a control plane in a process of its own, and its administrator's client.
type server struct {
	client
	pid int
	// tenant and group are where things are made.
	tenant, group string
}

// startServer starts a control plane on a fresh data folder, with its log in a file of that folder.
func startServer(b *testing.B, store string) *server {
	b.Helper()
	bin := os.Getenv(binaryEnv)
	if bin == "" {
		bin = filepath.Join("..", "..", "bin", "fairlead")
	}
	dir := b.TempDir()
	addr := freeAddress(b)
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(bin, "server", "--data-dir", dir, "--listen", addr, "--public-url", "https://"+addr, "--store", store)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatalf("starting the server (`make build` makes it): %v", err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	s := &server{pid: cmd.Process.Pid}
	if err := s.logIn(b, dir, "https://"+addr); err != nil {
		text, _ := os.ReadFile(log.Name())
		b.Fatalf("logging in: %v\n%s", err, text)
	}
	return s
}

func freeAddress(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// logIn waits for the server and gets the administrator's token.
func (s *server) logIn(b *testing.B, dir, base string) error {
	var admin struct{ TenantID, ClientID, ClientSecret, SubscriptionID, CAFile string }
	var err error
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("it did not answer in 30 s: %w", err)
		}
		var raw, pem []byte
		if raw, err = os.ReadFile(filepath.Join(dir, "admin.json")); err != nil {
			continue
		}
		if err = json.Unmarshal(raw, &admin); err != nil {
			return err
		}
		if pem, err = os.ReadFile(admin.CAFile); err != nil {
			continue
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		s.client = newClient(b, base, &tls.Config{RootCAs: pool})
		if err = s.tokenOf(admin.TenantID, url.Values{"client_id": {admin.ClientID}, "client_secret": {admin.ClientSecret}}); err == nil {
			break
		}
	}
	s.tenant, s.group = admin.TenantID, "/subscriptions/"+admin.SubscriptionID+"/resourceGroups/bench"
	return nil
}

// client is HTTPS with connections that are kept.
type client struct {
	http        *http.Client
	base, token string
}

// newClient makes a client with a connection for every sender. HTTP/1.1 spares the generator the multiplexing of HTTP/2.
func newClient(b *testing.B, base string, conf *tls.Config) client {
	t := &http.Transport{TLSClientConfig: conf, MaxIdleConnsPerHost: load.Senders}
	b.Cleanup(t.CloseIdleConnections)
	return client{http: &http.Client{Transport: t}, base: base}
}

// tokenOf asks for a token and uses it from then on.
func (c *client) tokenOf(tenant string, form url.Values) error {
	form.Set("grant_type", "client_credentials")
	res, err := c.http.PostForm(c.base+"/"+tenant+"/oauth2/v2.0/token", form)
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
	c.token = body.Token
	return nil
}

// do sends a request whose answer must be one of 2xx, and returns the answer's body.
func (c *client) do(ctx context.Context, method, path, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(req)
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

// cpu is the processor time that processes have used.
func cpu(b *testing.B, pids ...int) time.Duration {
	b.Helper()
	var sum time.Duration
	for _, pid := range pids {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0 // not Linux
		}
		_, after, _ := strings.Cut(string(raw), ") ") // the name may hold blanks
		var user, system time.Duration
		if f := strings.Fields(after); len(f) > 12 {
			_, err = fmt.Sscan(f[11]+" "+f[12], &user, &system)
		}
		if err != nil {
			b.Fatalf("reading processor time from %q: %v", raw, err)
		}
		sum += (user + system) * (time.Second / 100) // the kernel counts in hundredths of a second
	}
	return sum
}
