package logs

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// maxStall is how long a reader may take none of what is sent before it is dropped.
const maxStall = 10 * time.Minute

// HeaderIncomplete is true when there are matching lines from before the first of the answer.
const HeaderIncomplete = "X-Fairlead-Earlier-Lines"

// Stream is one stream of a list.
type Stream struct {
	Namespace     string    `json:"namespace"`
	Pod           string    `json:"pod"`
	UID           string    `json:"uid"`
	Container     string    `json:"container"`
	Restart       int       `json:"restart"`
	Node          string    `json:"node,omitempty"`
	Job           string    `json:"job,omitempty"`
	Workspace     string    `json:"workspace,omitempty"`
	FirstLineTime time.Time `json:"firstLineTime"`
	LastLineTime  time.Time `json:"lastLineTime"`
	Bytes         int64     `json:"bytes"`
}

// List answers with the streams of a cluster, the one with the latest line first.
func (k *Keeper) List(ctx context.Context, cluster store.Record, params map[string]string) (any, error) {
	q, err := parse(Owner(cluster.Key, cluster.Seq), params, k.cfg.Clock())
	if err != nil {
		return nil, err
	}
	q.Limit = maxStreams
	sums, err := k.cfg.Store.LogSummaries(ctx, q.LogQuery)
	if err != nil {
		return nil, err
	}
	out := make([]Stream, len(sums))
	for i, s := range sums {
		out[i] = Stream{s.Namespace, s.Pod, s.UID, s.Container, s.Restart, s.Node, s.Job, s.Workspace, s.First, s.Last, s.Bytes}
	}
	return map[string]any{"value": out}, nil
}

// Serve answers with lines of a cluster, one JSON object each, by time and a follower more until the request ends.
func (k *Keeper) Serve(w http.ResponseWriter, r *http.Request, cluster store.Record, params map[string]string) error {
	q, err := parse(Owner(cluster.Key, cluster.Seq), params, k.cfg.Clock())
	if err != nil {
		return err
	}
	answer, err := k.find(r.Context(), q)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
	if !answer.complete {
		h.Set(HeaderIncomplete, "true")
	}
	s := sender{w: w, rc: http.NewResponseController(w)}
	if err := s.send(answer.lines); err != nil || !q.follow {
		return cutOff(r, err)
	}
	answer.lines = nil
	if err := k.follow(r.Context(), q, answer.read, s.send); err != nil && r.Context().Err() == nil {
		k.cfg.Log.Warn("following logs", "cluster", cluster.Key, "err", err)
		return cutOff(r, err)
	}
	return nil
}

// cutOff breaks the connection of an answer that cannot be finished, so that no reader takes the part for the whole.
func cutOff(r *http.Request, err error) error {
	if err != nil && r.Context().Err() == nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

type sender struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (s sender) send(lines []Line) error {
	_ = s.rc.SetWriteDeadline(time.Now().Add(maxStall)) // not every ResponseWriter can
	enc := json.NewEncoder(s.w)
	enc.SetEscapeHTML(false)
	for _, l := range lines {
		if err := enc.Encode(l); err != nil {
			return err
		}
	}
	return s.rc.Flush()
}
