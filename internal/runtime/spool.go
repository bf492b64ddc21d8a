package runtime

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// spool is a log file on local disk with one writer and any number of readers that wait for more.
// Readers use the file by position; the mutex guards only the length and the channel that tells of a change.
type spool struct {
	name string // relative to the run's artifacts
	f    *os.File

	mu      sync.Mutex
	size    int64
	ended   bool
	err     error // first error of writing; what came after it is lost
	changed chan struct{}
}

func newSpool(dir, name string) (*spool, error) {
	p := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(p), 0o777); err != nil {
		return nil, fmt.Errorf("making log folder: %w", err)
	}
	f, err := os.OpenFile(p, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o666)
	if err != nil {
		return nil, fmt.Errorf("making log file: %w", err)
	}
	return &spool{name: name, f: f, changed: make(chan struct{})}, nil
}

// Write appends to the file. It never fails: output that finds no room on disk is dropped and remembered (Err), so that a
// full disk does not stop the command.
func (s *spool) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.err != nil {
		return len(p), nil
	}
	n, err := s.f.WriteAt(p, s.size)
	s.size += int64(n)
	s.err = err
	s.wake()
	return len(p), nil
}

// End says that nothing more will be written.
func (s *spool) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended = true
		s.wake()
	}
}

func (s *spool) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// state is the length, whether the end was reached, and a channel that is closed at the next change.
func (s *spool) state() (size int64, ended bool, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size, s.ended, s.changed
}

// Err is why output was dropped, or nil.
func (s *spool) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// more waits until there is something at off, and returns how far the file goes; ok is false when it ended there.
func (s *spool) more(ctx context.Context, off int64) (size int64, ok bool, err error) {
	for {
		size, ended, changed := s.state()
		if size > off {
			return size, true, nil
		}
		if ended {
			return size, false, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return size, false, ctx.Err()
		}
	}
}
