package sync

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/link"
)

// TestLogs: chunks reach what keeps logs, as those of the cluster that the token is for, and its answer comes back.
func TestLogs(t *testing.T) {
	w := newWorld(t)
	var got []string
	w.srv.Config.Handler = New(Config{Store: w.st, Desired: w.desired, Authenticate: authenticate,
		Logs: func(_ context.Context, cluster string, _ int64, chunks []link.LogChunk) ([]link.LogCursor, error) {
			var out []link.LogCursor
			for _, c := range chunks {
				got = append(got, cluster+" "+c.Key()+" "+c.Lines[0].Text)
				out = append(out, c.To)
			}
			return out, nil
		}})
	chunk := func(change func(*link.LogChunk)) link.LogChunk {
		c := link.LogChunk{LogStream: link.LogStream{Namespace: "ml", Pod: "p", UID: "u", Container: "main", Restart: 2}, To: link.LogCursor{File: "f", Offset: 5},
			Lines: []link.LogLine{{Time: time.Now(), Text: "hello"}}}
		change(&c)
		return c
	}
	good := chunk(func(*link.LogChunk) {})
	cursors, err := w.client("ext-east", nil).PostLogs(t.Context(), []link.LogChunk{good})
	if err != nil || len(cursors) != 1 || cursors[0] != good.To {
		t.Fatalf("%v, %v", cursors, err)
	}
	if want := east + " ml/p/u/main/2 hello"; len(got) != 1 || got[0] != want {
		t.Errorf("taken %q, want %q", got, want)
	}
	for name, c := range map[string]struct {
		token  string
		chunk  link.LogChunk
		status int
		want   string
	}{
		"a user":          {"user", good, 403, "User"},
		"no pod":          {"ext-east", chunk(func(c *link.LogChunk) { c.Pod = "" }), 400, "chunks[0].pod"},
		"a long name":     {"ext-east", chunk(func(c *link.LogChunk) { c.Job = strings.Repeat("j", 600) }), 400, "chunks[0].job"},
		"backwards":       {"ext-east", chunk(func(c *link.LogChunk) { c.To.Offset = -1 }), 400, "negative"},
		"lines of no way": {"ext-east", chunk(func(c *link.LogChunk) { c.From = c.To }), 400, "chunks[0].to"},
	} {
		_, err := w.client(c.token, nil).PostLogs(t.Context(), []link.LogChunk{c.chunk})
		var se *link.StatusError
		if !errors.As(err, &se) || se.Status != c.status || !strings.Contains(se.Message, c.want) {
			t.Errorf("%s: %v; want %d with %q", name, err, c.status, c.want)
		}
	}
	if len(got) != 1 {
		t.Errorf("refused chunks were taken: %q", got)
	}
}
