package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// liveLog is a server whose answers are told in turn; each but one that ends in "end" breaks off. After the last one the deployment is gone.
type liveLog struct {
	mu      sync.Mutex
	answers []string
	asked   []string
}

func (l *liveLog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := r.URL.Query()
	l.asked = append(l.asked, fmt.Sprintf("%s %s %s %s", q.Get("container"), q.Get("tail"), q.Get("follow"), q.Get("since")))
	if len(l.answers) == 0 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"error":{"code":"ResourceNotFound","message":"gone"}}`)
		return
	}
	answer, ends := strings.CutSuffix(l.answers[0], "end")
	l.answers = l.answers[1:]
	w.WriteHeader(http.StatusOK)
	_, _ = io.WriteString(w, answer)
	_ = http.NewResponseController(w).Flush()
	if !ends {
		panic(http.ErrAbortHandler)
	}
}

func podLine(second int, pod, line string) string {
	return fmt.Sprintf(`{"time":"2026-03-04T05:06:%02d.5Z","pod":%q,"container":"inference-server","line":%q}`+"\n", second, pod, line)
}

// TestGetLogs_Follow: every line comes once and in its pod's order, whatever breaks, of pods that come later too; the end of the deployment is its end.
func TestGetLogs_Follow(t *testing.T) {
	l := &liveLog{answers: []string{
		podLine(1, "a", "one") + podLine(2, "b", "zwei") + podLine(2, "a", "two") + podLine(1, "a", "stderr of before") + `{"time":"2026-03-04T05:06:03Z","pod":"b","event":"is gone"}` + "\n" + `{"time":"2026-0`,
		podLine(1, "a", "one") + podLine(2, "a", "two") + podLine(1, "a", "stderr of before") + podLine(3, "a", "three") + podLine(1, "c", "late clock") + "end",
	}}
	a, s, out, errs := streamApp(t, l)
	f := podFollower{app: a, place: place{session: s, path: "/d/blue", name: "blue"}, container: "inference-server", lines: 7, last: map[string]time.Time{}}
	if err := f.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "[a] one\n[b] zwei\n[a] two\n[a] stderr of before\n[a] three\n[c] late clock\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("stdout (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff("Pod b: is gone\nThe log's connection broke; going on …\nDeployment blue is gone.\n", errs.String()); diff != "" {
		t.Errorf("stderr (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"inference-server 7 true ", "inference-server 7 true 2026-03-04T05:05:02.5Z", "inference-server 7 true 2026-03-04T05:05:03.5Z"}, l.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

// TestGetLogs_FollowEnds: by Ctrl-C, or by a refusal before anything came.
func TestGetLogs_FollowEnds(t *testing.T) {
	follow := func(ctx context.Context, l *liveLog) error {
		a, s, _, _ := streamApp(t, l)
		f := podFollower{app: a, place: place{session: s, path: "/d/blue", name: "blue"}, container: "inference-server", last: map[string]time.Time{}}
		return f.run(ctx)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := follow(ctx, &liveLog{answers: []string{"end"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("after Ctrl-C: %v", err)
	}
	if err := follow(t.Context(), &liveLog{}); !isNotFound(err) {
		t.Errorf("of no deployment: %v", err)
	}
}
