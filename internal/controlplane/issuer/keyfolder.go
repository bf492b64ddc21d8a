package issuer

import (
	"log/slog"
	"os"
	"sync"
	"time"
)

// settled is how old a folder's modification time must be to say that nothing changed since: file systems' clocks tick
// slowly, and two changes within a tick look like one.
const settled = 100 * time.Millisecond

// keyFolder is the keyring of a folder, read again when the folder changes: a rotation needs no restart.
type keyFolder struct {
	dir string
	log *slog.Logger

	mu   sync.Mutex
	ring *keyring
	// read is the folder's modification time when ring was read, zero when it had not settled.
	read time.Time
	// failed is what was logged of the last change, so that it is not logged at every use.
	failed string
}

func openKeys(dir string, log *slog.Logger) (*keyFolder, error) {
	if err := ensureKey(dir); err != nil {
		return nil, err
	}
	f := &keyFolder{dir: dir, log: log}
	changed := f.changed()
	ring, err := readKeys(dir)
	if err != nil {
		return nil, err
	}
	f.ring, f.read = ring, changed
	return f, nil
}

// get returns the keys as they are now. While the folder does not read, as when a file is half copied, the last keys stay.
func (f *keyFolder) get() *keyring {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed := f.changed()
	if !changed.IsZero() && changed.Equal(f.read) {
		return f.ring
	}
	ring, err := readKeys(f.dir)
	if err != nil {
		if f.failed != err.Error() {
			f.failed = err.Error()
			f.log.Error("reading changed signing keys; the last ones stay in use", "error", err)
		}
		return f.ring
	}
	f.ring, f.read, f.failed = ring, changed, ""
	return ring
}

// changed is the folder's modification time, zero when it can't be told or another change may still carry the same.
func (f *keyFolder) changed() time.Time {
	fi, err := os.Stat(f.dir)
	if err != nil || time.Since(fi.ModTime()) < settled {
		return time.Time{}
	}
	return fi.ModTime()
}
