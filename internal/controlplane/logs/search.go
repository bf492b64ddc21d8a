package logs

import (
	"bufio"
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/blobs"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/link"
)

// Line is one line of an answer.
type Line struct {
	Time      time.Time `json:"time"`
	Namespace string    `json:"namespace"`
	Pod       string    `json:"pod"`
	Container string    `json:"container"`
	Job       string    `json:"job,omitempty"`
	Source    string    `json:"source,omitempty"`
	Text      string    `json:"line"`
	// n keeps lines of the same time in the order in which they were written.
	n int
}

// newest holds the latest lines that were offered, the earliest of them on top.
type newest struct {
	lines []Line
	max   int
	held  int
	// dropped says that there was more than it may hold.
	dropped bool
}

// Len, Less, Swap, Push and Pop are heap.Interface.
func (h *newest) Len() int { return len(h.lines) }

// Less says that a line is earlier than another.
func (h *newest) Less(i, j int) bool { return earlier(h.lines[i], h.lines[j]) < 0 }

// Swap exchanges two lines.
func (h *newest) Swap(i, j int) { h.lines[i], h.lines[j] = h.lines[j], h.lines[i] }

// Push adds a line.
func (h *newest) Push(x any) { h.lines = append(h.lines, x.(Line)) }

// Pop takes the last line.
func (h *newest) Pop() any {
	l := h.lines[len(h.lines)-1]
	h.lines = h.lines[:len(h.lines)-1]
	return l
}

func earlier(a, b Line) int {
	if c := a.Time.Compare(b.Time); c != 0 {
		return c
	}
	return a.n - b.n
}

func (h *newest) offer(l Line) {
	heap.Push(h, l)
	for h.held += len(l.Text); h.Len() > h.max || h.held > maxHeld; h.dropped = true {
		h.held -= len(heap.Pop(h).(Line).Text)
	}
}

// full says that nothing from before a time has a place.
func (h *newest) full(last time.Time) bool {
	return h.dropped && h.Len() > 0 && last.Before(h.lines[0].Time)
}

// found is an answer: lines by time.
type found struct {
	lines []Line
	// complete is false when there may be earlier matching lines than these.
	complete bool
	// read is how far each object was read.
	read map[string]int64
}

// find gives the latest matching lines. Objects come by their latest line, so that it ends when no other can have a later one
// than those it holds.
func (k *Keeper) find(ctx context.Context, q query) (found, error) {
	q.Limit = maxObjects
	entries, err := k.cfg.Store.LogEntries(ctx, q.LogQuery)
	if err != nil {
		return found{}, err
	}
	out := found{read: make(map[string]int64, len(entries)), complete: len(entries) < maxObjects}
	h := &newest{max: q.tail}
	left := int64(maxScan)
	for i, e := range entries {
		out.read[e.LogObject.ID] = e.LogObject.Bytes
		if q.tail == 0 || h.full(e.LogObject.Last) {
			out.complete = false
			continue
		}
		if left -= e.LogObject.Bytes; left < 0 && i > 0 {
			out.complete = false
			continue
		}
		if err := k.scan(ctx, q, e, 0, h.offer); err != nil {
			return out, err
		}
	}
	out.complete = out.complete && !h.dropped
	slices.SortFunc(h.lines, earlier)
	out.lines = h.lines
	return out, nil
}

// scan offers the matching lines of an object from an offset on.
func (k *Keeper) scan(ctx context.Context, q query, e store.LogEntry, from int64, offer func(Line)) error {
	rd, _, err := k.cfg.Blobs.NewReader(ctx, blobAccount, container(e.LogStream.Owner), e.LogObject.ID, from)
	if blobs.IsNotFound(err) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return fmt.Errorf("reading lines of %s/%s: %w", e.Namespace, e.Pod, err)
	}
	defer rd.Close()
	lines := bufio.NewReaderSize(io.LimitReader(rd, e.LogObject.Bytes-from), 64<<10)
	for n := 0; ; n++ {
		raw, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(raw) == 0 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading lines of %s/%s: %w", e.Namespace, e.Pod, err)
		}
		var l link.LogLine
		if err := json.Unmarshal(raw, &l); err != nil {
			return fmt.Errorf("reading lines of %s/%s: %w", e.Namespace, e.Pod, err)
		}
		if q.matches(l) {
			offer(Line{l.Time, e.Namespace, e.Pod, e.Container, e.Job, l.Source, l.Text, n})
		}
	}
}

func (q query) matches(l link.LogLine) bool {
	return !l.Time.Before(q.From) && (q.To.IsZero() || l.Time.Before(q.To)) && (q.search == nil || q.search.MatchString(l.Text))
}

// lookBack is how much earlier a follower looks than it did, for the clocks of replicas and for transactions under way.
const lookBack = time.Minute

// follow sends what is written after an answer, until ctx ends or send fails.
func (k *Keeper) follow(ctx context.Context, q query, read map[string]int64, send func([]Line) error) error {
	q.Limit = maxObjects
	tick := time.NewTicker(k.cfg.Poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		q.Updated = k.cfg.Clock().Add(-lookBack)
		entries, err := k.cfg.Store.LogEntries(ctx, q.LogQuery)
		if err != nil {
			return err
		}
		var lines []Line
		for _, e := range entries {
			if from := read[e.LogObject.ID]; from < e.LogObject.Bytes {
				if err := k.scan(ctx, q, e, from, func(l Line) { lines = append(lines, l) }); err != nil {
					return err
				}
				read[e.LogObject.ID] = e.LogObject.Bytes
			}
		}
		slices.SortStableFunc(lines, func(a, b Line) int { return a.Time.Compare(b.Time) })
		if len(lines) > 0 {
			if err := send(lines); err != nil {
				return err
			}
		}
	}
}
