// Package freeport gives tests ports for servers that must be told theirs before they listen.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// Below every system's range of ports for outgoing connections (32768 and up on Linux, 49152 and up elsewhere) and of
// Kubernetes' for NodePorts (30000 and up): a port of those that is free now may be anybody's a moment later.
const first, last = 12000, 29999

// Take returns a TCP port that nothing listens on and that no other test of this machine is given until this process ends.
func Take(tb testing.TB) int {
	tb.Helper()
	port, err := Find()
	if err != nil {
		tb.Fatal(err)
	}
	return port
}

// Address is 127.0.0.1 with a port of Take's.
func Address(tb testing.TB) string {
	tb.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(Take(tb)))
}

// Find is Take for those that have no test at hand.
func Find() (int, error) {
	dir := filepath.Join(os.TempDir(), "fairlead-test-ports")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	for range 1000 {
		port := first + rand.IntN(last-first+1)
		fd, err := syscall.Open(filepath.Join(dir, strconv.Itoa(port)), syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
		if err != nil {
			return 0, fmt.Errorf("finding a free port: %w", err)
		}
		// Not closed when it is taken: the lock is this process's for as long as it runs.
		if syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB) == nil && unused(port) {
			return port, nil
		}
		_ = syscall.Close(fd)
	}
	return 0, fmt.Errorf("finding a free port: none of 1000 between %d and %d", first, last)
}

func unused(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
