//go:build unix

package local

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"
)

func lockFile(f Folder) string { return f.Path("run", "supervisor.lock") }

// holdLock takes the folder for the life of this process.
func holdLock(f Folder) (func(), error) {
	if err := os.MkdirAll(f.RunDir(), 0o700); err != nil {
		return nil, fmt.Errorf("making the run folder: %w", err)
	}
	file, err := os.OpenFile(lockFile(f), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	// Those who only look whether it is held hold it for a moment themselves, so one refusal says nothing.
	for range 20 {
		if syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			return func() { _ = file.Close() }, nil
		}
		<-time.After(20 * time.Millisecond)
	}
	_ = file.Close()
	return nil, fmt.Errorf("%w in %s", errRunning, f)
}

// isHeld says whether a supervisor runs.
func isHeld(f Folder) bool {
	file, err := os.OpenFile(lockFile(f), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer file.Close()
	return syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil
}

// awaitFree waits until no supervisor runs.
func awaitFree(ctx context.Context, f Folder) error {
	for isHeld(f) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the supervisor to end: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}
