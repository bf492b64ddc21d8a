package sync

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	gosync "sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/controlplane/desired"
	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/link"
)

// lockedBuffer is a log's text.
type lockedBuffer struct {
	mu gosync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// lines follows one connection; events arrive as "type key value", those that carry a number with a + in front, and the
// channel is closed when the server ends the stream.
func (w *world) lines(ctx context.Context, after int64) <-chan string {
	w.t.Helper()
	req, _ := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("%s%s?after=%d", w.srv.URL, link.DesiredPath, after), nil)
	req.Header.Set("Authorization", "Bearer agent-east")
	res, err := w.srv.Client().Do(req)
	if err != nil || res.StatusCode != 200 {
		w.t.Fatal(res, err)
	}
	out := make(chan string, 100)
	go func() {
		defer close(out)
		defer res.Body.Close()
		for sc := bufio.NewScanner(res.Body); sc.Scan(); {
			e, err := link.ParseEvent(sc.Bytes())
			if err != nil {
				w.t.Error(err)
				return
			}
			s := strings.TrimSpace(e.Type + " " + e.Key + " " + string(e.Value))
			if e.Seq > 0 {
				s = "+" + s
			}
			out <- s
		}
	}()
	return out
}

func TestSealedValuesArriveOpened(t *testing.T) {
	var log lockedBuffer
	w := newWorld(t)
	w.srv.Config.Handler = New(Config{Store: w.st, Desired: w.desired, Authenticate: authenticate, Log: slog.New(slog.NewTextHandler(&log, nil))})
	put := func(key, value string) {
		t.Helper()
		w.put(east, key, value)
	}
	put("extension/ml", `{"v":1}`)
	put(job, `{"v":1}`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	all := w.lines(ctx, 0)
	w.expect(all, "reset", `put extension/ml {"v":1}`, "put "+job+` {"v":1}`, "+bookmark")
	seq, err := w.st.LastChange(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	// One value is damaged: the others go on, nothing is said that deletes it, and it is heard of again.
	w.update(func(tx store.Tx) error {
		return tx.PutDesired(t.Context(), east, "extension/ml", json.RawMessage(`{"sealed":"AQID"}`))
	})
	put(job, `{"v":2}`)
	for s := range all { // whether both came in one batch or not, no number beyond the damaged value's is told
		if strings.HasPrefix(s, "+put") || strings.HasPrefix(s, "put extension") {
			t.Errorf("got %q", s)
		}
		if s == "put "+job+` {"v":2}` {
			break
		}
	}
	snapshot, resumed := w.lines(ctx, 0), w.lines(ctx, seq)
	w.expect(snapshot, "put "+job+` {"v":2}`, "bookmark")
	w.expect(resumed, "put "+job+` {"v":2}`, "bookmark")
	if s := log.String(); !strings.Contains(s, "key=extension/ml") || !strings.Contains(s, seal.ErrSealed.Error()) {
		t.Errorf("log: %s", s)
	}

	// It is written again: the stream ends so that the client comes back, to a whole snapshot.
	put("extension/ml", `{"v":3}`)
	for name, ch := range map[string]<-chan string{"snapshot": snapshot, "resumed": resumed} {
		for s := range ch {
			if s != "bookmark" {
				t.Errorf("%s: %q after the repair", name, s)
			}
		}
	}
	w.expect(w.lines(ctx, seq), "+put "+job+` {"v":2}`, `+put extension/ml {"v":3}`, "+bookmark")
}

// TestSealedWithALostKey: what was sealed with it is left out, by name, until the key is back.
func TestSealedWithALostKey(t *testing.T) {
	older, newer := seal.NewKey(), seal.NewKey()
	lost, err1 := seal.New(older)
	box, err2 := seal.New(newer)
	both, err3 := seal.New(newer, older)
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	w := newWorld(t)
	for key, b := range map[string]*seal.Box{"extension/ml": lost, job: box} {
		w.update(func(tx store.Tx) error {
			return desired.New(b).Put(t.Context(), tx, east, key, json.RawMessage(`{"v":1}`))
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.srv.Config.Handler = New(Config{Store: w.st, Desired: desired.New(box), Authenticate: authenticate})
	w.expect(w.lines(ctx, 0), "put "+job+` {"v":1}`, "bookmark")
	w.srv.Config.Handler = New(Config{Store: w.st, Desired: desired.New(both), Authenticate: authenticate})
	got, ch := map[string]bool{}, w.lines(ctx, 0)
	for range 4 {
		got[<-ch] = true
	}
	if diff := cmp.Diff(map[string]bool{"reset": true, `put extension/ml {"v":1}`: true, "put " + job + ` {"v":1}`: true, "+bookmark": true}, got); diff != "" {
		t.Error(diff)
	}
}
