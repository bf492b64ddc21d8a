package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob/memblob"

	"fairlead.dev/fairlead/internal/controlplane/blobs"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
	"fairlead.dev/fairlead/internal/link"
)

const clusterKey = "/subscriptions/s/resourcegroups/g/providers/microsoft.kubernetes/connectedclusters/c"

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// world is a keeper with a cluster, on a clock.
type world struct {
	*Keeper
	t     *testing.T
	ctx   context.Context
	now   time.Time
	rec   store.Record
	owner string
	blobs *faulty
}

// faulty is a blob front whose store fails after the lines were written, as if the process had died there.
type faulty struct {
	Blobs
	fail bool
}

var errDied = errors.New("died after the append")

func (f *faulty) Append(ctx context.Context, account, container, name string, at int64, data []byte) error {
	err := f.Blobs.Append(ctx, account, container, name, at, data)
	if err == nil && f.fail {
		return errDied
	}
	return err
}

func newWorld(t *testing.T) *world {
	t.Helper()
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	w := &world{t: t, ctx: t.Context(), now: noon}
	clock := func() time.Time { return w.now }
	w.blobs = &faulty{Blobs: blobs.New(blobs.Config{Bucket: memblob.OpenBucket(nil), PublicURL: "https://fl.test", SASKey: make([]byte, 32), Clock: clock})}
	w.Keeper = New(Config{Store: st, Blobs: w.blobs, Clock: clock, Poll: time.Millisecond})
	w.rec = w.cluster()
	w.owner = Owner(w.rec.Key, w.rec.Seq)
	return w
}

func (w *world) cluster() (rec store.Record) {
	w.t.Helper()
	err := w.cfg.Store.Update(w.ctx, func(tx store.Tx) (err error) {
		rec, err = tx.Put(w.ctx, store.Record{Key: clusterKey, ID: clusterKey, Type: "microsoft.kubernetes/connectedclusters", Name: "c", Body: json.RawMessage(`{}`), CreatedAt: w.now, UpdatedAt: w.now})
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return rec
}

func at(n int64) link.LogCursor { return link.LogCursor{File: "f", Offset: n} }

// chunk is lines of a pod, a second apart.
func chunk(pod string, from, to link.LogCursor, begin time.Time, lines ...string) link.LogChunk {
	c := link.LogChunk{LogStream: link.LogStream{Namespace: "ml", Pod: pod, UID: "u-" + pod, Container: "main", Node: "n", Job: "train"}, From: from, To: to}
	for i, l := range lines {
		c.Lines = append(c.Lines, link.LogLine{Time: begin.Add(time.Duration(i) * time.Second), Source: "stdout", Text: l})
	}
	return c
}

func (w *world) take(chunks ...link.LogChunk) []link.LogCursor {
	w.t.Helper()
	got, err := w.Take(w.ctx, w.owner, chunks)
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

// get asks as a reader does and gives the lines' texts.
func (w *world) get(params map[string]string) (texts []string, earlier bool) {
	w.t.Helper()
	res := httptest.NewRecorder()
	if err := w.Serve(res, httptest.NewRequest("GET", "/", nil), w.rec, params); err != nil {
		w.t.Fatal(err)
	}
	for dec := json.NewDecoder(res.Body); ; {
		var l Line
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return texts, res.Header().Get(HeaderIncomplete) == "true"
		} else if err != nil {
			w.t.Fatal(err)
		}
		texts = append(texts, l.Text)
	}
}

func (w *world) expect(params map[string]string, want ...string) {
	w.t.Helper()
	got, _ := w.get(params)
	if d := cmp.Diff(want, got); d != "" {
		w.t.Errorf("%v (-want +got):\n%s", params, d)
	}
}

// TestEveryLineOnce: what comes again, or begins elsewhere than the stream ends, changes nothing and is told where to go on.
func TestEveryLineOnce(t *testing.T) {
	w := newWorld(t)
	first := chunk("a", link.LogCursor{}, at(2), noon, "one", "two")
	for range 2 {
		if got := w.take(first); got[0] != at(2) {
			t.Errorf("kept up to %v", got)
		}
	}
	gap := chunk("a", at(3), at(4), noon.Add(time.Hour), "four")
	overlap := chunk("a", link.LogCursor{}, at(3), noon, "one", "two", "three")
	ask := chunk("a", link.LogCursor{}, link.LogCursor{}, noon)
	if got := w.take(gap, overlap, ask, chunk("b", link.LogCursor{}, link.LogCursor{}, noon)); !cmp.Equal(got, []link.LogCursor{at(2), at(2), at(2), {}}) {
		t.Errorf("answers %v", got)
	}
	next := chunk("a", at(2), at(3), noon.Add(2*time.Second), "three")
	if got := w.take(next, next, chunk("b", link.LogCursor{}, at(1), noon.Add(time.Second/2), "b")); got[0] != at(3) || got[2] != at(1) {
		t.Errorf("answers %v", got)
	}
	w.expect(nil, "one", "b", "two", "three")
	if w.take(chunk("a", at(3), at(9), noon))[0] != at(9) {
		t.Error("a chunk without lines does not move its stream")
	}
	w.expect(nil, "one", "b", "two", "three")
}

// TestDiedBetweenBlobAndDatabase: lines that were written but never counted are not shown, and come again elsewhere.
func TestDiedBetweenBlobAndDatabase(t *testing.T) {
	w := newWorld(t)
	w.take(chunk("a", link.LogCursor{}, at(1), noon, "one"))
	next := chunk("a", at(1), at(2), noon.Add(time.Second), "two")
	w.blobs.fail = true
	if _, err := w.Take(w.ctx, w.owner, []link.LogChunk{next}); !errors.Is(err, errDied) {
		t.Fatal(err)
	}
	w.blobs.fail = false
	w.expect(nil, "one")
	if got := w.take(next); got[0] != at(2) {
		t.Errorf("kept up to %v", got)
	}
	w.take(chunk("a", at(2), at(3), noon.Add(2*time.Second), "three"))
	w.expect(nil, "one", "two", "three")
}

func TestSearch(t *testing.T) {
	w := newWorld(t)
	other := chunk("b", link.LogCursor{}, at(1), noon.Add(time.Minute), "error <b>&")
	other.Namespace, other.Job = "azureml", ""
	w.take(chunk("a", link.LogCursor{}, at(1), noon, "error 1", "fine", "Error 2", strings.Repeat("x", 70000)), other)
	w.now = noon.Add(time.Hour)
	for name, c := range map[string]struct {
		params map[string]string
		want   []string
	}{
		"expression":  {map[string]string{"search": "(?i)error"}, []string{"error 1", "Error 2", "error <b>&"}},
		"of a job":    {map[string]string{"job": "train", "search": "rror"}, []string{"error 1", "Error 2"}},
		"namespace":   {map[string]string{"namespace": "azureml"}, []string{"error <b>&"}},
		"no pod":      {map[string]string{"pod": "c"}, nil},
		"since":       {map[string]string{"since": "59m"}, []string{"error <b>&"}},
		"from and to": {map[string]string{"since": noon.Add(time.Second).Format(time.RFC3339), "until": "2026-03-04T12:00:03Z"}, []string{"fine", "Error 2"}},
		"tail":        {map[string]string{"tail": "2", "search": "rror"}, []string{"Error 2", "error <b>&"}},
		"no tail":     {map[string]string{"tail": "0"}, nil},
	} {
		got, _ := w.get(c.params)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	if _, earlier := w.get(map[string]string{"tail": "2"}); !earlier {
		t.Error("nobody is told that there are earlier lines")
	}
	if _, earlier := w.get(nil); earlier {
		t.Error("earlier lines where all are shown")
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	for params, want := range map[string]string{
		"search=(": "not a regular expression", "since=yesterday": "neither a duration", "tail=10001": "from 0 to 10000", "tail=x": "not a number", "follow=maybe": "not true or false",
		"until=2026-01-01T00:00:00Z since=1h": "not after", "follow=true until=1m": "no end", "colour=red": "There are: namespace", "search=" + strings.Repeat("a", 1001): "at most 1000",
	} {
		q := map[string]string{}
		for _, p := range strings.Fields(params) {
			name, value, _ := strings.Cut(p, "=")
			q[name] = value
		}
		if err := w.Serve(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil), w.rec, q); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", params, err, want)
		}
	}
}

func TestList(t *testing.T) {
	w := newWorld(t)
	w.take(chunk("a", link.LogCursor{}, at(1), noon, "1", "2"), chunk("b", link.LogCursor{}, at(1), noon.Add(time.Minute), "3"))
	got, err := w.List(w.ctx, w.rec, map[string]string{"job": "train"})
	if err != nil {
		t.Fatal(err)
	}
	streams := got.(map[string]any)["value"].([]Stream)
	if len(streams) != 2 || streams[0].Pod != "b" || streams[1].Pod != "a" || !streams[1].LastLineTime.Equal(noon.Add(time.Second)) || streams[1].Node != "n" {
		t.Errorf("streams %+v", streams)
	}
}

// TestFollow: a follower gets what there is, then what comes, of new streams too, each line once.
func TestFollow(t *testing.T) {
	w := newWorld(t)
	w.take(chunk("a", link.LogCursor{}, at(1), noon, "one"))
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_ = w.Serve(rw, r, w.rec, map[string]string{"follow": "true", "search": "o"})
	}))
	defer srv.Close()
	res, err := srv.Client().Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	dec := json.NewDecoder(res.Body)
	next := func(want string) {
		t.Helper()
		var l Line
		if err := dec.Decode(&l); err != nil || l.Text != want {
			t.Fatalf("got %q, %v; want %q", l.Text, err, want)
		}
	}
	next("one")
	w.take(chunk("a", at(1), at(2), noon.Add(time.Second), "two", "xxx"))
	next("two")
	w.take(chunk("b", link.LogCursor{}, at(1), noon.Add(-time.Hour), "four"))
	next("four")
}

func TestClean(t *testing.T) {
	w := newWorld(t)
	clean := func() {
		t.Helper()
		if err := w.Clean(w.ctx); err != nil {
			t.Fatal(err)
		}
	}
	from := link.LogCursor{}
	for day := range int64(3) { // an object a day
		w.now = noon.Add(time.Duration(day) * 24 * time.Hour)
		w.take(chunk("a", from, at(day+1), w.now, fmt.Sprint("day ", day)))
		from = at(day + 1)
	}
	clean()
	w.expect(nil, "day 0", "day 1", "day 2")
	usage, err := w.cfg.Store.LogUsage(w.ctx)
	if err != nil || len(usage) != 1 {
		t.Fatal(usage, err)
	}
	w.cfg.MaxBytes = usage[0].Bytes - 1
	clean()
	w.expect(nil, "day 1", "day 2")
	w.cfg.MaxBytes = MaxBytes
	w.now = noon.Add(25*time.Hour + Retention)
	clean()
	w.expect(nil, "day 2")
	w.take(chunk("a", from, at(9), noon, "older than what is kept"))
	w.expect(nil, "day 2")

	// A cluster of the same name that is made again has none of them, and they go.
	if err := w.cfg.Store.Update(w.ctx, func(tx store.Tx) error { return tx.Delete(w.ctx, clusterKey) }); err != nil {
		t.Fatal(err)
	}
	old := w.rec
	w.rec = w.cluster()
	w.expect(nil)
	clean()
	w.rec = old
	w.expect(nil)
	if usage, err := w.cfg.Store.LogUsage(w.ctx); err != nil || len(usage) != 0 {
		t.Errorf("left: %v, %v", usage, err)
	}
}
