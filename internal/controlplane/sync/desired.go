package sync

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/link"
)

// writeTimeout is how long a client may leave one write unread.
const writeTimeout = 30 * time.Second

// stream is one GET of the desired map.
type stream struct {
	s      *server
	r      *http.Request
	p      resource.Principal
	prefix string
	seq    int64 // everything up to here was sent
	// unreadable are the keys whose values do not open. While there are any, nothing is said that makes the cluster
	// believe it has heard all: no reset, which deletes what does not follow it, and no number to resume after.
	unreadable map[string]bool
	out        io.Writer
	zip        *gzip.Writer
	rc         *http.ResponseController
}

func (s *server) desired(w http.ResponseWriter, r *http.Request, p resource.Principal) error {
	q := r.URL.Query()
	after, err := strconv.ParseInt(q.Get("after"), 10, 64)
	if q.Get("after") != "" && (err != nil || after < 0) {
		return arm.Invalid("after", "after=%.40q is not a sequence number.", q.Get("after"))
	}
	prefix := q.Get("prefix")
	if len(prefix) > 256 {
		return arm.Invalid("prefix", "prefix is %d bytes long; at most 256 are allowed.", len(prefix))
	}
	if hidden(p, prefix) {
		return arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "An extension does not read %q keys.", link.PrefixExtension)
	}
	f, err := s.hub.join(r.Context(), p.Scope)
	if err != nil {
		return err
	}
	defer f.leave()
	st := &stream{s: s, r: r, p: p, prefix: prefix, seq: after, unreadable: map[string]bool{}, rc: http.NewResponseController(w)}
	st.begin(w)
	if err := st.run(f); err != nil && r.Context().Err() == nil {
		s.Log.Info("a desired stream ended", "cluster", p.Scope, "prefix", prefix, "err", err)
	}
	if st.zip != nil {
		_ = st.zip.Close()
	}
	// The header was sent: all that is left is to end the stream; the client connects again and resumes.
	return nil
}

func (st *stream) begin(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set("Connection", "close") // the next stream may then go to another server
	st.out = w
	if strings.Contains(st.r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		st.zip, _ = gzip.NewWriterLevel(w, gzip.BestSpeed)
		st.out = st.zip
	}
	w.WriteHeader(http.StatusOK)
}

func (st *stream) run(f *follower) error {
	tick := time.NewTicker(bookmarkEvery)
	defer tick.Stop()
	old := time.After(st.s.StreamAge + rand.N(st.s.StreamAge))
	for resumed := st.seq > 0; ; resumed = false {
		pos, dirty, gone := f.take()
		if gone {
			return errors.New("the cluster was deleted or the store closed")
		}
		if dirty {
			if err := st.catchUp(pos); err != nil {
				return err
			}
		}
		st.seq = max(st.seq, pos)
		if !dirty || resumed { // the first bookmark of a resumed stream says that it lives
			if err := st.send(link.Event{Type: link.EventBookmark, Seq: st.seq}); err != nil {
				return err
			}
			if err := st.flush(); err != nil {
				return err
			}
		}
		select {
		case <-st.r.Context().Done():
			return nil
		case <-old:
			return nil
		case <-f.wake:
		case <-tick.C:
		}
	}
}

// catchUp sends what changed after st.seq, or everything when that is not known any more.
func (st *stream) catchUp(pos int64) error {
	ctx := st.r.Context()
	release, err := st.s.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	var entries []store.Entry
	reset := st.seq == 0
	if !reset {
		entries, err = st.s.Store.Desired(ctx, st.p.Scope, st.prefix, st.seq)
		reset = errors.Is(err, store.ErrCompacted)
	}
	if reset {
		if pos, err = st.s.Store.LastChange(ctx); err != nil {
			return err
		}
		entries, err = st.s.Store.Desired(ctx, st.p.Scope, st.prefix, 0)
	}
	if err != nil {
		return fmt.Errorf("reading the desired map: %w", err)
	}
	if err := st.unseal(entries, reset); err != nil {
		return err
	}
	if reset && len(st.unreadable) == 0 {
		if err := st.send(link.Event{Type: link.EventReset}); err != nil {
			return err
		}
	}
	for _, e := range entries {
		if err := st.entry(e, reset); err != nil {
			return err
		}
		pos = max(pos, e.Seq)
	}
	if reset {
		st.seq = pos
		if err := st.send(link.Event{Type: link.EventBookmark, Seq: pos}); err != nil {
			return err
		}
	}
	st.seq = max(st.seq, pos)
	return st.flush()
}

// errReadable ends a stream that left values out, so that the client comes back and hears all.
var errReadable = errors.New("the values that did not open were replaced or deleted")

// unseal opens entries, all there are when reset, in place. One that does not open is left out and stops no other.
func (st *stream) unseal(entries []store.Entry, reset bool) error {
	before := len(st.unreadable)
	if reset {
		clear(st.unreadable)
	}
	for i := range entries {
		e := &entries[i]
		if hidden(st.p, e.Key) {
			continue
		}
		delete(st.unreadable, e.Key)
		if e.Deleted {
			continue
		}
		value, err := st.s.Desired.Open(st.p.Scope, *e)
		if err != nil {
			st.unreadable[e.Key] = true
			st.s.Log.Error("a desired value does not reach its cluster; bring back the key file that opens it, or write its resource again",
				"cluster", st.p.Scope, "key", e.Key, "err", err)
		}
		e.Value = value
	}
	if before > 0 && len(st.unreadable) == 0 {
		return errReadable
	}
	return nil
}

func (st *stream) entry(e store.Entry, snapshot bool) error {
	if hidden(st.p, e.Key) || st.unreadable[e.Key] {
		return nil
	}
	ev := link.Event{Type: link.EventPut, Seq: e.Seq, Key: e.Key, Value: e.Value}
	if e.Deleted {
		ev.Type, ev.Value = link.EventDelete, nil
	}
	if snapshot {
		ev.Seq = 0
	}
	return st.send(ev)
}

func (st *stream) send(ev link.Event) error {
	if len(st.unreadable) > 0 {
		ev.Seq = 0
	}
	line, err := json.Marshal(ev)
	if err != nil {
		return fmt.Errorf("encoding %q: %w", ev.Key, err)
	}
	_ = st.rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // not every ResponseWriter can
	_, err = st.out.Write(append(line, '\n'))
	return err
}

func (st *stream) flush() error {
	if st.zip != nil {
		if err := st.zip.Flush(); err != nil {
			return err
		}
	}
	return st.rc.Flush()
}
