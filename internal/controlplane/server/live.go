package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

const (
	// maxStall is how long a reader may take none of what is sent before it is dropped.
	maxStall = 10 * time.Minute
	// lookAgain is how often a stream looks whether what it is of is still there.
	lookAgain = 2 * time.Second
)

// serveLive sends what a resource's containers write. A clean end says that the client's token, the server or the resource has come to
// its end; when the source breaks, so does the connection, and the client asks again.
func (s *server) serveLive(w http.ResponseWriter, c *call, rec store.Record) error {
	r, end := s.endless(w, c.Request)
	defer end()
	src, err := c.typ.LiveLogs(r.Context(), rec, c.query)
	if err != nil {
		return err
	}
	defer src.Close()
	defer context.AfterFunc(r.Context(), func() { src.Close() })()
	go s.endWhenGone(r.Context(), rec, end)
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	out := &flushing{w: w, rc: http.NewResponseController(w)}
	_ = out.rc.Flush()
	if _, err := io.Copy(out, src); r.Context().Err() == nil {
		s.log.InfoContext(r.Context(), "the log that was followed broke off", "resource", rec.Key, "err", err)
		panic(http.ErrAbortHandler) // the reader must not take the part for the whole
	}
	return nil
}

// endWhenGone ends a stream when the resource that it is of is not there any more.
func (s *server) endWhenGone(ctx context.Context, rec store.Record, end func()) {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, err := s.cfg.Engine.Store.Get(ctx, rec.Key)
		if errors.Is(err, store.ErrNotFound) || err == nil && now.Seq != rec.Seq {
			end()
			return
		}
	}
}

// flushing sends each piece at once.
type flushing struct {
	w  io.Writer
	rc *http.ResponseController
}

// Write implements io.Writer.
func (f *flushing) Write(p []byte) (int, error) {
	_ = f.rc.SetWriteDeadline(time.Now().Add(maxStall)) // not every ResponseWriter can
	n, err := f.w.Write(p)
	if err != nil {
		return n, err
	}
	return n, f.rc.Flush()
}
