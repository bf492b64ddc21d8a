package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// containerTypes are what the containers of a deployment's pods are called in getLogs.
var containerTypes = map[string]string{"inference-server": "InferenceServer", "storage-initializer": "StorageInitializer"}

func (a *app) deploymentLogs() *cobra.Command {
	var container string
	var lines int
	var follow bool
	c := &cobra.Command{Use: "get-logs", Short: "Print what a container of a deployment's pods has written",
		Long: `Print what a container of a deployment's pods has written. --follow goes on with what all of its pods write, each line behind the name of
its pod, until Ctrl-C: pods that come later join, and of those that end or write nothing it is said how and why. -o json then
gives one JSON object a line.`,
		Example: `  fairlead ml online-deployment get-logs -n blue -e digits --lines 100 -g G -w W
  fairlead ml online-deployment get-logs -n blue -e digits --follow --lines 10 -g G -w W
  fairlead ml online-deployment get-logs -n blue -e digits --container storage-initializer -g G -w W`}
	c.Flags().StringVarP(&container, "container", "c", "inference-server", "`container`: inference-server or storage-initializer")
	c.Flags().IntVarP(&lines, "lines", "l", 5000, "at most this `number` of lines of each pod, the newest")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with new lines until interrupted")
	return a.about(deploymentKind.one, c, func(ctx context.Context, p place) error {
		typ, ok := containerTypes[container]
		least := 1
		if follow {
			least = 0
		}
		switch {
		case !ok:
			return usagef("argument --container/-c: invalid choice: %q (choose from inference-server, storage-initializer)", container)
		case lines < least || lines > maxLogLines:
			return usagef("argument --lines/-l: %d is not a number from %d to %d", lines, least, maxLogLines)
		case follow && c.Flags().Changed("output") && a.output != "json":
			return usagef("argument --output/-o: a log that is followed is text, or json with one object a line; not %q", a.output)
		}
		if follow {
			f := podFollower{app: a, place: p, container: container, lines: lines, raw: c.Flags().Changed("output"), last: map[string]time.Time{}}
			return f.run(ctx)
		}
		got, err := p.postEndpoint(ctx, p.path, "getLogs", map[string]any{"containerType": typ, "tail": lines})
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(a.deps.Stdout, text(got, "content"))
		return err
	})
}

const (
	// maxLogLines is how many lines of a pod can be asked for.
	maxLogLines = 10000
	// lookBack is how much earlier than the newest line a log that broke off is asked for again: clocks of nodes differ.
	lookBack = time.Minute
)

// podFollower prints what a container writes in all pods of a deployment. When the connection breaks it goes on where it was.
type podFollower struct {
	app       *app
	place     place
	container string
	lines     int
	raw       bool
	// newest is the time of the newest line of all, last those of each pod's newest.
	newest time.Time
	last   map[string]time.Time
	// again are the pods of which lines may come again, since the connection broke.
	again map[string]bool
}

func (f *podFollower) run(ctx context.Context) error {
	begun := false
	for faults := 0; ; faults++ {
		res, err := f.place.Stream(ctx, f.place.path+"/logs", f.query())
		if err == nil {
			begun = true
			var got bool
			if got, err = f.print(ctx, res.Body); got {
				faults = 0
			}
			res.Body.Close()
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case begun && isNotFound(err):
			f.app.note("Deployment %s is gone.", f.place.name)
			return nil
		case err != nil && (!begun || refusal(err) || errors.Is(err, errNotWritten)):
			return err
		case err != nil && faults == 0:
			f.app.note("The log's connection broke; going on …")
		}
		if err := f.app.deps.Sleep(ctx, min(time.Duration(1+faults)*500*time.Millisecond, 5*time.Second)); err != nil {
			return err
		}
	}
}

// query asks for everything that was not printed.
func (f *podFollower) query() url.Values {
	q := url.Values{"api-version": {apiML}, "container": {f.container}, "tail": {strconv.Itoa(f.lines)}, "follow": {"true"}}
	if !f.newest.IsZero() {
		q.Set("since", f.newest.Add(-lookBack).Format(time.RFC3339Nano))
	}
	f.again = map[string]bool{}
	for pod := range f.last {
		f.again[pod] = true
	}
	return q
}

// errNotWritten says that the output takes no more.
var errNotWritten = errors.New("writing the log")

// print writes lines until the stream ends; got says that any came.
func (f *podFollower) print(ctx context.Context, body io.Reader) (got bool, err error) {
	lines := bufio.NewReader(body)
	for {
		raw, err := lines.ReadBytes('\n')
		switch {
		case ctx.Err() != nil:
			return got, ctx.Err()
		case errors.Is(err, io.EOF):
			return got, nil // half a line comes again
		case err != nil:
			return got, fmt.Errorf("reading the log: %w", err)
		}
		got = true
		if err := f.line(raw); err != nil {
			return got, err
		}
	}
}

func (f *podFollower) line(raw []byte) error {
	var l struct {
		Time             time.Time
		Pod, Line, Event string
	}
	if err := json.Unmarshal(raw, &l); err != nil {
		return fmt.Errorf("reading a line of the log: %w", err)
	}
	if l.Event == "" {
		if f.again[l.Pod] = f.again[l.Pod] && !l.Time.After(f.last[l.Pod]); f.again[l.Pod] {
			return nil
		}
		f.last[l.Pod], f.newest = later(f.last[l.Pod], l.Time), later(f.newest, l.Time)
	}
	var err error
	switch {
	case f.raw:
		_, err = f.app.deps.Stdout.Write(raw)
	case l.Event == "":
		_, err = fmt.Fprintf(f.app.deps.Stdout, "[%s] %s\n", l.Pod, l.Line)
	case l.Pod == "":
		f.app.note("Deployment %s: %s", f.place.name, l.Event)
	default:
		f.app.note("Pod %s: %s", l.Pod, l.Event)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errNotWritten, err)
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
