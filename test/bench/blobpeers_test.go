package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"

	"fairlead.dev/fairlead/internal/controlplane/pki"
	"fairlead.dev/fairlead/internal/testing/freeport"
)

// azuriteEnv names the folder where npm installed azurite; scripts/bench makes one.
const azuriteEnv = "AZURITE"

func transport(t policy.Transporter) azcore.ClientOptions { return azcore.ClientOptions{Transport: t} }

// certificate makes one as fairlead server does, and a client that trusts it.
func certificate(b *testing.B) (cert, key string, c *http.Client) {
	b.Helper()
	dir := b.TempDir()
	a, err := pki.Open(pki.Config{Dir: dir, Hosts: []string{"127.0.0.1"}})
	if err != nil {
		b.Fatal(err)
	}
	pem, err := os.ReadFile(a.CAFile())
	if err != nil {
		b.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	b.Cleanup(t.CloseIdleConnections)
	return filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"), &http.Client{Transport: t}
}

// startPeer runs a program until the benchmark ends and waits until it answers.
func startPeer(b *testing.B, c *http.Client, base string, args ...string) (pid int) {
	b.Helper()
	file := filepath.Join(b.TempDir(), "log")
	log, err := os.Create(file)
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(2 * time.Minute); ; <-time.After(50 * time.Millisecond) {
		res, err := c.Get(base)
		if err == nil {
			res.Body.Close()
			return cmd.Process.Pid
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(file)
			b.Fatalf("%s did not answer: %v\n%s", args[0], err, text)
		}
	}
}

// startAzurite runs Microsoft's emulator of their store, on the disk, with the key that is in its documentation.
func startAzurite(b *testing.B) *fileServer {
	dir := os.Getenv(azuriteEnv)
	if dir == "" {
		b.Skipf("%s is not set; give the folder where npm installed azurite (scripts/bench blobs makes one)", azuriteEnv)
	}
	const account, secret = "devstoreaccount1", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
	cert, key, client := certificate(b)
	addr := freeport.Address(b)
	_, port, _ := net.SplitHostPort(addr)
	pid := startPeer(b, client, "https://"+addr, "node", filepath.Join(dir, "node_modules/azurite/dist/src/blob/main.js"), "--silent", "--skipApiVersionCheck", "--disableTelemetry",
		"--location", b.TempDir(), "--blobHost", "127.0.0.1", "--blobPort", port, "--cert", cert, "--key", key)
	credential, err := azblob.NewSharedKeyCredential(account, secret)
	if err != nil {
		b.Fatal(err)
	}
	c, err := azblob.NewClientWithSharedKeyCredential("https://"+addr+"/"+account, credential, &azblob.ClientOptions{ClientOptions: transport(client)})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := c.CreateContainer(b.Context(), "bench", nil); err != nil {
		b.Fatal(err)
	}
	return blobServer(c, "bench", pid)
}

// startNginx runs nginx over a folder, with PUT.
func startNginx(b *testing.B) *fileServer {
	bin, err := exec.LookPath("nginx")
	if err != nil {
		b.Skip("nginx is not installed")
	}
	cert, key, client := certificate(b)
	dir, addr := b.TempDir(), freeport.Address(b)
	conf := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log stderr; events {} http { access_log off; client_max_body_size 0;
		client_body_temp_path %[1]s/tmp; proxy_temp_path %[1]s/tmp1; fastcgi_temp_path %[1]s/tmp2; uwsgi_temp_path %[1]s/tmp3; scgi_temp_path %[1]s/tmp4;
		server { listen %[2]s ssl; ssl_certificate %[3]s; ssl_certificate_key %[4]s; location / { root %[1]s; dav_methods PUT DELETE; } } }`, dir, addr, cert, key)
	file := filepath.Join(dir, "conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		b.Fatal(err)
	}
	url := "https://" + addr + "/large.bin"
	do := func(ctx context.Context, method string, body io.Reader, size int64) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, method, url, body)
		if err != nil {
			return nil, err
		}
		req.ContentLength = size
		res, err := client.Do(req)
		if err == nil && res.StatusCode/100 != 2 {
			err = errors.Join(fmt.Errorf("%s: %s", method, res.Status), res.Body.Close())
		}
		return res, err
	}
	return &fileServer{pid: startPeer(b, client, "https://"+addr, bin, "-c", file, "-p", dir),
		upload: func(ctx context.Context, body io.Reader, size int64) error {
			res, err := do(ctx, http.MethodPut, io.NopCloser(body), size)
			if err != nil {
				return err
			}
			return res.Body.Close()
		},
		download: func(ctx context.Context) (io.ReadCloser, error) {
			res, err := do(ctx, http.MethodGet, nil, 0)
			if err != nil {
				return nil, err
			}
			return res.Body, nil
		},
		remove: func(ctx context.Context) error {
			res, err := do(ctx, http.MethodDelete, nil, 0)
			if err != nil {
				return err
			}
			return res.Body.Close()
		},
	}
}
