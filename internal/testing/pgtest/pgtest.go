// Package pgtest gives tests a private PostgreSQL server made of the system's own binaries, on a Unix socket in a
// temporary folder, gone when the test ends.
package pgtest

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a running PostgreSQL server.
type Server struct {
	dir string
	dbs atomic.Int64
}

// Start runs a server until the test ends, with settings such as "fsync=off" on its command line. Without binaries
// it installs Debian's package when it may; when that is impossible too the test is skipped, or fails in CI (CI=true).
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	bin, err := binaries(t)
	if err != nil {
		absent(t, err)
	}
	dir, cred, err := home()
	if err != nil {
		t.Fatalf("making a folder for PostgreSQL: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	initdb := command(cred, filepath.Join(bin, "initdb"), "-D", filepath.Join(dir, "data"), "-U", "postgres",
		"-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	initdb.Dir = dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("running initdb: %v\n%s", err, out)
	}
	s := &Server{dir: dir}
	s.run(t, bin, cred, settings)
	return s
}

// NewDatabase makes an empty database and returns its DSN, a URL as fairlead server takes it.
func (s *Server) NewDatabase(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.dsn("postgres"))
	if err != nil {
		t.Fatalf("connecting to the test's PostgreSQL: %v", err)
	}
	defer conn.Close(ctx)
	name := fmt.Sprintf("test%d", s.dbs.Add(1))
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatalf("creating database %s: %v", name, err)
	}
	return s.dsn(name)
}

func (s *Server) dsn(db string) string {
	return "postgres:///" + db + "?" + url.Values{"host": {s.dir}, "port": {"5432"}, "user": {"postgres"}}.Encode()
}

// run starts the server, waits until it answers, and stops it in the test's clean-up.
func (s *Server) run(t testing.TB, bin string, cred *syscall.Credential, settings []string) {
	t.Helper()
	args := []string{"-D", filepath.Join(s.dir, "data"), "-k", s.dir, "-c", "listen_addresses="}
	for _, set := range settings {
		args = append(args, "-c", set)
	}
	cmd := command(cred, filepath.Join(bin, "postgres"), args...)
	var log bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, &log, &log
	started, exited := make(chan error, 1), make(chan struct{})
	go func() {
		// The death signal comes when the starting thread ends, so that thread waits for the server.
		runtime.LockOSThread()
		defer close(exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("starting postgres: %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT) // fast shutdown
		select {
		case <-exited:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Signal(syscall.SIGQUIT)
			<-exited
		}
	})
	if err := s.await(exited); err != nil {
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		<-exited
		t.Fatalf("waiting for postgres: %v\n%s", err, log.String())
	}
}

func (s *Server) await(exited <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.dsn("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-exited:
			return fmt.Errorf("it ended: %w", err)
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// home makes a folder that the server's user owns: initdb refuses root. It is not below t.TempDir, whose path may be
// too long for a Unix socket and whose parents only the test's user may enter.
func home() (string, *syscall.Credential, error) {
	dir, err := os.MkdirTemp("/tmp", "pgtest")
	if err != nil || os.Geteuid() != 0 {
		return dir, nil, err
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		return dir, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, os.Chown(dir, uid, gid)
	}
	return dir, nil, fmt.Errorf("neither user postgres nor nobody exists, and PostgreSQL does not run as root")
}

func command(cred *syscall.Credential, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred, Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	return cmd
}

var installOnce = sync.OnceValue(install)

// binaries returns the folder of the newest server's binaries.
func binaries(t testing.TB) (string, error) {
	if dir := newest(); dir != "" {
		return dir, nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return "", fmt.Errorf("no PostgreSQL server in /usr/lib/postgresql, and it cannot be installed without root and apt-get")
	}
	t.Log("installing Debian's package postgresql")
	if err := installOnce(); err != nil {
		return "", err
	}
	if dir := newest(); dir != "" {
		return dir, nil
	}
	return "", fmt.Errorf("package postgresql is installed but /usr/lib/postgresql/*/bin/initdb is not there")
}

func newest() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.SortFunc(found, func(a, b string) int { return version(a) - version(b) })
	if len(found) == 0 {
		return ""
	}
	return filepath.Dir(found[len(found)-1])
}

func version(initdb string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb))))
	return n
}

// install leaves Debian's own cluster stopped (RUNLEVEL) and waits for another test's installation.
func install() error {
	for _, args := range [][]string{{"update"}, {"install", "-y", "--no-install-recommends", "postgresql"}} {
		cmd := exec.Command("apt-get", append([]string{"-o", "DPkg::Lock::Timeout=300"}, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("running apt-get %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

func absent(t testing.TB, err error) {
	t.Helper()
	if ci := os.Getenv("CI"); ci != "" && ci != "false" {
		t.Fatalf("PostgreSQL is needed in CI: %v", err)
	}
	t.Skipf("no PostgreSQL: %v", err)
}
