package runtime

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// files is the set of log files that live readers may follow, and the phase the pod is in.
type files struct {
	key string

	mu     sync.Mutex
	phase  string
	spools map[string]*spool
}

func newFiles(key string) *files { return &files{key: key, spools: map[string]*spool{}} }

// add lets a file be read under a name. A later attempt's files have its folder in front, as where they are kept: whoever
// still follows the first attempt's must not get theirs.
func (f *files) add(s *spool, name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spools[name] = s
}

func (f *files) setPhase(p string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.phase = p
}

func (f *files) get(name string) (*spool, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.spools[name], f.phase
}

// handler serves GET /files/<path> with the log key and GET /phase without; the latter answers 200 only while the
// command runs, so that the pod's readiness tells just that.
func (f *files) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /phase", f.servePhase)
	mux.HandleFunc("GET /files/{path...}", f.serveFile)
	return mux
}

func (f *files) servePhase(w http.ResponseWriter, _ *http.Request) {
	_, phase := f.get("")
	w.Header().Set("Content-Type", "application/json")
	if phase != "Running" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"phase": phase})
}

func (f *files) serveFile(w http.ResponseWriter, r *http.Request) {
	if !f.authorized(r) {
		http.Error(w, "the log key is missing or wrong", http.StatusUnauthorized)
		return
	}
	s, _ := f.get(r.PathValue("path"))
	if s == nil {
		http.Error(w, "no such log file here", http.StatusNotFound)
		return
	}
	off := int64(0)
	if v := r.URL.Query().Get("offset"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			http.Error(w, "offset is a number of bytes, 0 or more", http.StatusBadRequest)
			return
		}
		off = n
	}
	follow, _ := strconv.ParseBool(r.URL.Query().Get("follow"))
	size, _, _ := s.state()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if !follow {
		w.Header().Set("Content-Length", strconv.FormatInt(max(0, size-off), 10))
		_, _ = io.Copy(w, io.NewSectionReader(s.f, off, max(0, size-off)))
		return
	}
	followFile(w, r, s, off)
}

// followFile sends what is written until the file ends or the reader goes away.
func followFile(w http.ResponseWriter, r *http.Request, s *spool, off int64) {
	rc := http.NewResponseController(w)
	if rc.Flush() != nil {
		return
	}
	for {
		size, more, err := s.more(r.Context(), off)
		if err != nil || !more {
			return
		}
		n, err := io.Copy(w, io.NewSectionReader(s.f, off, size-off))
		if err != nil || rc.Flush() != nil {
			return
		}
		off += n
	}
}

// authorized compares hashes, so that neither the key nor its length shows in the time taken.
func (f *files) authorized(r *http.Request) bool {
	got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	a, b := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(f.key))
	return ok && f.key != "" && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}
