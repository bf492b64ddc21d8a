package users

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// File is a users file that is in use. It is safe for use by many goroutines.
type File struct {
	path string
	log  *slog.Logger

	mu   sync.Mutex
	all  map[string]User // by lower-case name
	read stamp
	// failed is what was logged of the last change, so that it is not logged at every use.
	failed string
}

// stamp tells whether a file changed.
type stamp struct {
	at   time.Time
	size int64
}

// Open reads the file; an error names what is wrong in it. One that is not there (os.ErrNotExist) may be used all the same, and come later.
func Open(path string, log *slog.Logger) (*File, error) {
	f := &File{path: path, log: log}
	return f, f.load(f.stamp())
}

// Find is the user of a name.
func (f *File) Find(name string) (User, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	u, ok := f.all[strings.ToLower(name)]
	return u, ok
}

// Any reports whether there is a user.
func (f *File) Any() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refresh()
	return len(f.all) > 0
}

// Check is the user of a name with this password. It takes as long when there is none.
func (f *File) Check(name, password string) (User, bool) {
	u, ok := f.Find(name)
	if !ok {
		u = nobody
	}
	matches := u.Matches(password)
	return u, ok && matches
}

// refresh reads a changed file. While it does not read, as when it is half written, the last users stay; one that is gone has none.
// It needs mu.
func (f *File) refresh() {
	now := f.stamp()
	if now == f.read && time.Since(now.at) > time.Second { // within a tick of the clock two changes look like one
		return
	}
	err := f.load(now)
	switch {
	case err == nil:
		f.failed = ""
	case os.IsNotExist(err):
		f.all, f.read = nil, now
		fallthrough
	default:
		if f.failed != err.Error() {
			f.failed = err.Error()
			f.log.Error("reading changed users file", "error", err)
		}
	}
}

func (f *File) stamp() stamp {
	fi, err := os.Stat(f.path)
	if err != nil {
		return stamp{}
	}
	return stamp{fi.ModTime(), fi.Size()}
}

func (f *File) load(at stamp) error {
	text, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	all, err := Parse(text)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	f.all = make(map[string]User, len(all))
	for _, u := range all {
		f.all[strings.ToLower(u.Name)] = u
	}
	f.read = at
	return nil
}
