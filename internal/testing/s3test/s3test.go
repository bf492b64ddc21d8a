// Package s3test gives tests a store that speaks S3 and is not ours: the Versity S3 gateway over a folder, a process of its own that
// ends with the test.
package s3test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/testing/freeport"
)

// What opens every server.
const (
	AccessKeyID     = "TESTKEY0123456789ABC"
	SecretAccessKey = "a/secret+of/the=test0123456789abcdefghij"
	Region          = "us-east-1"
)

// startTimeout bounds how long the process may take to answer.
const startTimeout = time.Minute

// Server is a running store.
type Server struct {
	// Endpoint is its address.
	Endpoint string
	dir      string
}

// Start runs a store on loopback.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartOn(t, "127.0.0.1")
}

// StartOn runs a store on an address of this machine. The first start on a machine builds it, which takes a minute or two.
func StartOn(t testing.TB, host string) *Server {
	t.Helper()
	bin := build(t)
	address := net.JoinHostPort(host, strconv.Itoa(freeport.Take(t)))
	s := &Server{Endpoint: "http://" + address, dir: t.TempDir()}
	meta := t.TempDir()
	var out bytes.Buffer
	cmd := exec.Command(bin, "--port", address, "--access", AccessKeyID, "--secret", SecretAccessKey, "--region", Region, "--quiet",
		"posix", "--sidecar", meta, s.dir)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting the S3 store: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	if err := s.ready(t.Context(), ended); err != nil {
		_ = cmd.Process.Kill()
		<-ended
		t.Fatalf("%v\n%s", err, out.String())
	}
	return s
}

// build gives the path of the program, which the go command keeps in its cache. Packages are tested side by side; one builds, and the
// others wait for it.
func build(t testing.TB) string {
	t.Helper()
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "fairlead-s3test.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatalf("waiting for another package to build the S3 store: %v", err)
	}
	_, file, _, _ := runtime.Caller(0)
	cmd := exec.Command("go", "tool", "-n", "github.com/versity/versitygw/cmd/versitygw")
	cmd.Dir = filepath.Join(filepath.Dir(file), "server")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("building the S3 store: %v\n%s", err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

func (s *Server) ready(ctx context.Context, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint, nil)
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			return res.Body.Close()
		}
		select {
		case <-ended:
			return errors.New("the S3 store ended")
		case <-ctx.Done():
			return fmt.Errorf("the S3 store does not answer: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Bucket makes an empty bucket.
func (s *Server) Bucket(t testing.TB, name string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(s.dir, name), 0o755); err != nil {
		t.Fatal(err)
	}
}

// Put writes an object past the protocol.
func (s *Server) Put(t testing.TB, bucket, key, content string) {
	t.Helper()
	path := filepath.Join(s.dir, bucket, filepath.FromSlash(key))
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// Get reads an object past the protocol; ok is false if there is none.
func (s *Server) Get(t testing.TB, bucket, key string) (content string, ok bool) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, bucket, filepath.FromSlash(key)))
	if errors.Is(err, fs.ErrNotExist) {
		return "", false
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b), true
}

// Uploads are the files of uploads in parts that were neither completed nor aborted.
func (s *Server) Uploads(t testing.TB, bucket string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(s.dir, bucket, ".sgwtmp", "multipart"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}
