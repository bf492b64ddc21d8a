// Package logs brings the logs of a node's containers to the control plane, as DaemonSet fluent-bit. It reads the kubelet's files:
//
//	/var/log/pods/<namespace>_<pod>_<uid>/<container>/<restart>.log            written now
//	                                                 /<restart>.log.<time>     rotated; all but the newest become .gz
//
// These files are its buffer, and the control plane remembers how far each stream is kept, so the collector keeps nothing on
// the node and nothing is lost or comes twice when either side stops. It looks at the files once a second: that costs a few
// system calls a container, and unlike notifications and libraries that follow one file by its name it finds what was rotated,
// compressed or begun while it was away.
package logs

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"fairlead.dev/fairlead/internal/link"
)

const (
	// budget bounds the bytes of files that are in memory at once, and so a request.
	budget = 1 << 20
	// quiet is how far a stream is read without a line to send before the control plane is told.
	quiet = 256 << 10
)

// Pod is what labels say of a pod.
type Pod struct {
	Job, Workspace string
	// Workload is true for the pods of jobs and endpoints.
	Workload bool
}

// Config is what New needs.
type Config struct {
	// Dir is the kubelet's folder of logs, Node the name of the node.
	Dir, Node string
	// Namespaces are those of Fairlead's own components.
	Namespaces []string
	// Everything collects all lines of the components and of workloads; otherwise only warnings and errors of components.
	Everything bool
	// Pods lists the node's pods by UID.
	Pods func(ctx context.Context) (map[string]Pod, error)
	// Post is link.Client.PostLogs.
	Post func(ctx context.Context, chunks []link.LogChunk) ([]link.LogCursor, error)
	Log  *slog.Logger
	// Every is how often it looks; 0 means 1 s.
	Every time.Duration
}

// Collector reads one node's logs.
type Collector struct {
	cfg     Config
	streams map[string]*stream
	// pods are those of workloads; strangers are folders of pods that are none of ours.
	pods      map[string]Pod
	strangers map[string]bool
	turn      int
}

// New makes a Collector.
func New(cfg Config) *Collector {
	if cfg.Every == 0 {
		cfg.Every = time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Collector{cfg: cfg, streams: map[string]*stream{}, pods: map[string]Pod{}, strangers: map[string]bool{}}
}

// Run collects until ctx ends, whose error it returns.
func (c *Collector) Run(ctx context.Context) error {
	defer c.close()
	for pause := c.cfg.Every; ; {
		err := c.collect(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			c.cfg.Log.Warn("collecting logs; trying again", "in", pause.String(), "err", err)
			pause = min(2*pause, 16*c.cfg.Every)
		default:
			pause = c.cfg.Every
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

func (c *Collector) close() {
	for _, s := range c.streams {
		s.close()
	}
}

// collect looks for streams and sends all that they have.
func (c *Collector) collect(ctx context.Context) error {
	if err := c.scan(ctx); err != nil {
		return err
	}
	if err := c.ask(ctx); err != nil {
		return err
	}
	for more := true; more; {
		var err error
		if more, err = c.round(ctx); err != nil {
			return err
		}
	}
	for key, s := range c.streams {
		if s.gone { // and read to its end
			s.close()
			delete(c.streams, key)
		}
	}
	return nil
}

// sorted gives the streams in a stable order.
func (c *Collector) sorted() []*stream {
	var out []*stream
	for _, key := range slices.Sorted(maps.Keys(c.streams)) {
		out = append(out, c.streams[key])
	}
	return out
}

// turns gives the streams, another one first each time, so that one with much to send does not keep others waiting.
func (c *Collector) turns() []*stream {
	all := c.sorted()
	if len(all) == 0 {
		return nil
	}
	c.turn++
	n := c.turn % len(all)
	return append(all[n:len(all):len(all)], all[:n]...)
}

// ask learns how far the streams that are new here are kept. Those of pods that Kubernetes does not know are taken only if the
// control plane does: their pod was deleted while the collector was away.
func (c *Collector) ask(ctx context.Context) error {
	var fresh []*stream
	for _, s := range c.sorted() {
		if !s.asked && len(fresh) < link.MaxLogChunks {
			fresh = append(fresh, s)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	chunks := make([]link.LogChunk, len(fresh))
	for i, s := range fresh {
		chunks[i] = link.LogChunk{LogStream: s.id}
	}
	cursors, err := c.cfg.Post(ctx, chunks)
	if err != nil {
		return err
	}
	for i, s := range fresh {
		s.asked = true
		s.goOn(cursors[i])
		switch {
		case s.unknown && cursors[i] == (link.LogCursor{}):
			c.strangers[s.folder] = true
			delete(c.streams, s.id.Key())
		case s.unknown:
			c.pods[s.id.UID] = Pod{Workload: true}
		}
	}
	return nil
}

// round reads up to the budget and sends it; more says that there is more to read now.
func (c *Collector) round(ctx context.Context) (more bool, err error) {
	var chunks []link.LogChunk
	var of []*stream
	left := budget
	for _, s := range c.turns() {
		if left < 2*link.MaxLogLine || len(chunks) == link.MaxLogChunks {
			more = true
			break
		}
		if !s.asked {
			more = true // when there are more new ones than fit a request; the next look asks
			continue
		}
		lines, n, err := s.read(min(left, budget/2))
		if err != nil {
			c.cfg.Log.Warn("reading a log", "stream", s.id.Key(), "err", err)
			continue
		}
		left -= n
		more = more || n > 0
		if !c.cfg.Everything {
			lines = slices.DeleteFunc(lines, func(l link.LogLine) bool { return !important(l.Text) })
		}
		if len(lines) > 0 || s.pending() >= quiet {
			chunks, of = append(chunks, link.LogChunk{LogStream: s.id, From: s.kept, To: s.at, Lines: lines}), append(of, s)
		}
	}
	if len(chunks) == 0 {
		return more && left < budget, nil
	}
	cursors, err := c.post(ctx, chunks)
	for i, s := range of {
		if err != nil {
			s.goOn(s.kept)
		} else {
			s.goOn(cursors[i])
		}
	}
	return more, err
}

// post sends chunks; if the control plane refuses them for what they hold, one by one, and without the lines of those that it
// refuses alone too: they would hold up everything behind them for ever.
func (c *Collector) post(ctx context.Context, chunks []link.LogChunk) ([]link.LogCursor, error) {
	cursors, err := c.cfg.Post(ctx, chunks)
	var refused *link.StatusError
	if !errors.As(err, &refused) || refused.Status != http.StatusBadRequest && refused.Status != http.StatusRequestEntityTooLarge {
		return cursors, err
	}
	if len(chunks) == 1 {
		c.cfg.Log.Error("the control plane refuses lines; they are left out", "stream", chunks[0].Key(), "lines", len(chunks[0].Lines), "err", err)
		chunks[0].Lines = nil
		return c.cfg.Post(ctx, chunks)
	}
	cursors = nil
	for i := range chunks {
		one, err := c.post(ctx, chunks[i:i+1])
		if err != nil {
			return nil, err
		}
		cursors = append(cursors, one...)
	}
	return cursors, nil
}
