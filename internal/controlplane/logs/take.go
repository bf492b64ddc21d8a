package logs

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/blobs"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/link"
)

// taken is a chunk on its way: what the database shall say once its lines are in their object.
type taken struct {
	at     int // which chunk
	from   link.LogCursor
	stream store.LogStream
	object store.LogObject // ID "" when no line is to be kept
}

// Take keeps the lines of chunks and returns up to where each of their streams is kept now. A chunk that does not begin where
// its stream ends changes nothing: the answer says where to go on.
func (k *Keeper) Take(ctx context.Context, owner string, chunks []link.LogChunk) ([]link.LogCursor, error) {
	cursors := make([]link.LogCursor, len(chunks))
	var all []taken
	seen := map[string]bool{}
	for i, c := range chunks {
		id := hash(c.Key())
		st, err := k.cfg.Store.LogStream(ctx, owner, id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		cursors[i] = cursorOf(st)
		if c.From != cursors[i] || c.To == c.From || seen[id] {
			continue
		}
		seen[id] = true
		t, err := k.write(ctx, described(st, owner, id, c), c)
		if err != nil {
			return nil, err
		}
		t.at, t.from = i, c.From
		all = append(all, t)
	}
	if len(all) == 0 {
		return cursors, nil
	}
	err := k.cfg.Store.Update(ctx, func(tx store.Tx) error {
		for _, t := range all {
			var err error
			if cursors[t.at], err = t.record(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("recording logs: %w", err)
	}
	return cursors, nil
}

func cursorOf(s store.LogStream) link.LogCursor {
	return link.LogCursor{File: s.File, Offset: s.Offset}
}

// described is the stream's row with what the chunk says of it; what is known stays when the collector has lost it with the pod.
func described(st store.LogStream, owner, id string, c link.LogChunk) store.LogStream {
	st.Owner, st.ID, st.Namespace, st.Pod, st.UID, st.Container, st.Restart = owner, id, c.Namespace, c.Pod, c.UID, c.Container, c.Restart
	st.Node, st.Job, st.Workspace = cmp.Or(c.Node, st.Node), cmp.Or(c.Job, st.Job), cmp.Or(c.Workspace, st.Workspace)
	return st
}

// record writes rows, unless another process has gone on with the stream meanwhile.
func (t taken) record(ctx context.Context, tx store.Tx) (link.LogCursor, error) {
	now, err := tx.LogStream(ctx, t.stream.Owner, t.stream.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return link.LogCursor{}, err
	}
	if cursorOf(now) != t.from {
		return cursorOf(now), nil
	}
	if t.object.ID != "" {
		if err := tx.PutLogObject(ctx, t.object); err != nil {
			return link.LogCursor{}, err
		}
	}
	return cursorOf(t.stream), tx.PutLogStream(ctx, t.stream)
}

// write brings a chunk's lines into the stream's object.
func (k *Keeper) write(ctx context.Context, st store.LogStream, c link.LogChunk) (taken, error) {
	now := k.cfg.Clock().UTC().Truncate(time.Microsecond)
	st.File, st.Offset, st.Updated = c.To.File, c.To.Offset, now
	data, first, last := encode(c.Lines, now)
	if len(data) == 0 {
		return taken{stream: st}, nil
	}
	o, err := k.current(ctx, st, now, len(data))
	if err == nil {
		err = k.cfg.Blobs.Append(ctx, blobAccount, container(st.Owner), o.ID, o.Bytes, data)
		if errors.Is(err, blobs.ErrPosition) { // what is beyond was never recorded
			if o, err = k.begin(ctx, st, now); err == nil {
				err = k.cfg.Blobs.Append(ctx, blobAccount, container(st.Owner), o.ID, 0, data)
			}
		}
	}
	if err != nil {
		return taken{}, fmt.Errorf("keeping lines of %s/%s: %w", st.Namespace, st.Pod, err)
	}
	if o.Bytes == 0 || first.Before(o.First) {
		o.First = first
	}
	if o.Bytes == 0 || last.After(o.Last) {
		o.Last = last
	}
	o.Bytes, o.Updated, st.Object = o.Bytes+int64(len(data)), now, o.ID
	return taken{stream: st, object: o}, nil
}

// maxAhead is how far a node's clock may be ahead of this one's: a line from later is one of now.
const maxAhead = 5 * time.Minute

// encode writes lines as JSON, one each, but those that would go at once, and says when the earliest and the latest are from.
func encode(lines []link.LogLine, now time.Time) (data []byte, first, last time.Time) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for _, l := range lines {
		if l.Time.Before(now.Add(-Retention)) {
			continue
		}
		if l.Time.After(now.Add(maxAhead)) {
			l.Time = now
		}
		_ = enc.Encode(l) // of two texts and a time of this era
		if first.IsZero() || l.Time.Before(first) {
			first = l.Time
		}
		if l.Time.After(last) {
			last = l.Time
		}
	}
	return b.Bytes(), first.UTC().Truncate(time.Microsecond), last.UTC().Truncate(time.Microsecond)
}

// current is the object to append to: the stream's own while it is of this day and not full.
func (k *Keeper) current(ctx context.Context, st store.LogStream, now time.Time, more int) (store.LogObject, error) {
	if st.Object != "" {
		o, err := k.cfg.Store.LogObject(ctx, st.Owner, st.Object)
		if err == nil && o.Bytes+int64(more) <= maxObject && o.Updated.Truncate(24*time.Hour).Equal(now.Truncate(24*time.Hour)) {
			return o, nil
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return o, err
		}
	}
	return k.begin(ctx, st, now)
}

// begin makes an object's row before its blob, so that no blob is ever forgotten.
func (k *Keeper) begin(ctx context.Context, st store.LogStream, now time.Time) (store.LogObject, error) {
	o := store.LogObject{Owner: st.Owner, ID: now.Format("2006-01-02") + "/" + st.ID + "/" + rand.Text(), Stream: st.ID, Updated: now}
	err := k.cfg.Store.Update(ctx, func(tx store.Tx) error { return tx.PutLogObject(ctx, o) })
	return o, err
}
