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
	"sync"
	"sync/atomic"
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
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	s, stop, err := run(t.Context(), bin, net.JoinHostPort(host, strconv.Itoa(freeport.Take(t))), t.TempDir(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return s
}

// Shared is one store for all tests of a package.
type Shared struct {
	once    sync.Once
	server  *Server
	stop    func()
	err     error
	buckets atomic.Int64
}

// Bucket makes a bucket of its own for a test, and starts the store for the first.
func (s *Shared) Bucket(t testing.TB) (server *Server, bucket string) {
	t.Helper()
	s.once.Do(func() { s.err = s.start() })
	if s.err != nil {
		t.Fatal(s.err)
	}
	bucket = fmt.Sprintf("test-%d", s.buckets.Add(1))
	s.server.Bucket(t, bucket)
	return s.server, bucket
}

func (s *Shared) start() error {
	bin, err := build()
	if err != nil {
		return err
	}
	port, err := freeport.Find()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "fairlead-s3test")
	if err != nil {
		return err
	}
	data, meta := filepath.Join(dir, "data"), filepath.Join(dir, "meta")
	s.stop = func() { _ = os.RemoveAll(dir) }
	if err := errors.Join(os.Mkdir(data, 0o700), os.Mkdir(meta, 0o700)); err != nil {
		return err
	}
	server, end, err := run(context.Background(), bin, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), data, meta)
	if err != nil {
		return err
	}
	s.server, s.stop = server, func() {
		end()
		_ = os.RemoveAll(dir)
	}
	return nil
}

// Stop ends the store, if there was one; it is for TestMain.
func (s *Shared) Stop() {
	if s.stop != nil {
		s.stop()
	}
}

// run starts the program and waits until it answers.
func run(ctx context.Context, bin, address, dir, meta string) (*Server, func(), error) {
	s := &Server{Endpoint: "http://" + address, dir: dir}
	var out bytes.Buffer
	cmd := exec.Command(bin, "--port", address, "--access", AccessKeyID, "--secret", SecretAccessKey, "--region", Region, "--quiet",
		"posix", "--sidecar", meta, s.dir)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the death signal comes when the starting thread ends
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, nil, fmt.Errorf("starting the S3 store: %w", err)
	}
	stop := func() {
		_ = cmd.Process.Kill()
		<-ended
	}
	if err := s.ready(ctx, ended); err != nil {
		stop()
		return nil, nil, fmt.Errorf("%w\n%s", err, out.String())
	}
	return s, stop, nil
}

// build gives the path of the program, which the go command keeps in its cache. Packages are tested side by side; one builds, and the
// others wait for it.
func build() (string, error) {
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "fairlead-s3test.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("waiting for another package to build the S3 store: %w", err)
	}
	_, file, _, _ := runtime.Caller(0)
	cmd := exec.Command("go", "tool", "-n", "github.com/versity/versitygw/cmd/versitygw")
	cmd.Dir = filepath.Join(filepath.Dir(file), "server")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("building the S3 store: %w\n%s", err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
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
