package bench

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/testing/serverproc"
)

// agent is a cluster's end of the link, by the client that real agents use. What it is asked for it does at once, but the second change of
// its extension only when a server was killed, so that this operation is under way then.
type agent struct {
	id  string
	obs *link.Observer
	// killed is closed when a server was killed.
	killed <-chan struct{}
	// lost and back are when its stream ended last and when it brought something again, in nanoseconds since 1970.
	lost, back atomic.Int64
}

// The values of a setting before and after the second change.
const before, after = "60", "61"

// startAgents connects clusters, which install their extension, and runs their agents until the test ends.
func startAgents(tb testing.TB, s *server, n int, killed <-chan struct{}) []*agent {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	ca, err := os.ReadFile(s.CAFile)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	tb.Cleanup(func() { cancel(); running.Wait() })
	agents := make([]*agent, n)
	g, setUp := errgroup.WithContext(tb.Context())
	g.SetLimit(8)
	for i := range agents {
		g.Go(func() error {
			a := &agent{id: fmt.Sprintf("%s/providers/Microsoft.Kubernetes/connectedClusters/edge-%d", s.group, i), killed: killed}
			agents[i] = a
			client, err := s.Register(setUp, a.id, key)
			if err != nil {
				return err
			}
			c, err := link.NewClient(link.Config{Endpoint: s.Base, CA: ca, Log: slog.New(a), Proxy: func(*http.Request) (*url.URL, error) { return nil, nil },
				TokenSource: func(context.Context) (string, error) { return client.Token, nil }})
			if err != nil {
				return err
			}
			a.obs = link.NewObserver(c)
			running.Go(func() { _ = a.obs.Run(ctx) })
			running.Go(func() { _ = c.Follow(ctx, "", a.apply) })
			running.Go(func() { a.beat(ctx) })
			small := map[string]string{"cpu": "1", "memory": "2Gi"}
			if err := a.obs.Set(link.KeyNodes, link.NodesStatus{Namespaces: []string{"default"}, InstanceTypes: []link.InstanceType{
				{Name: "defaultinstancetype", Requests: small, Limits: small}}}); err != nil {
				return err
			}
			_, err = s.Do(setUp, http.MethodPut, a.extension()+serverproc.APIVersion, extensionBody(before))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		tb.Fatal(err)
	}
	for _, a := range agents {
		s.Await(tb, a.extension())
	}
	return agents
}

func (a *agent) extension() string {
	return a.id + "/providers/Microsoft.KubernetesConfiguration/extensions/ml"
}

func extensionBody(lost string) string {
	return fmt.Sprintf(`{"properties":{"extensionType":"Microsoft.AzureML.Kubernetes","configurationSettings":{"enableTraining":"True","nodeLostSeconds":%q}}}`, lost)
}

func (a *agent) beat(ctx context.Context) {
	tick := time.NewTicker(link.HeartbeatIntervalSeconds * time.Second)
	defer tick.Stop()
	for n := 1; ; n++ {
		if err := a.obs.Set(link.KeyCluster, link.ClusterStatus{AgentVersion: "test", TotalNodeCount: n}); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (a *agent) apply(_ context.Context, e link.Event) error {
	a.back.Store(time.Now().UnixNano())
	switch {
	case e.Type != link.EventPut:
	case strings.HasPrefix(e.Key, link.PrefixJob):
		return a.obs.Set(e.Key, link.JobStatus{ID: strings.TrimPrefix(e.Key, link.PrefixJob), State: "Completed"})
	case strings.HasPrefix(e.Key, link.PrefixExtension):
		var told link.Extension
		if err := json.Unmarshal(e.Value, &told); err != nil {
			return err
		}
		go func() {
			if told.Settings["nodeLostSeconds"] == after {
				<-a.killed
			}
			_ = a.obs.Set(e.Key, link.ExtensionStatus{Generation: told.Generation, State: link.ExtensionInstalled})
		}()
	}
	return nil
}

// awaitBack waits until the agent can post, and follows again if its stream was lost since a moment; it returns how long that took.
func (a *agent) awaitBack(ctx context.Context, since time.Time) (time.Duration, error) {
	if err := a.obs.Set(link.KeyCluster, link.ClusterStatus{AgentVersion: "test", TotalNodeCount: -1}); err != nil {
		return 0, err
	}
	if err := a.obs.Flush(ctx); err != nil {
		return 0, fmt.Errorf("posting for %s: %w", a.id, err)
	}
	took := time.Since(since)
	if a.lost.Load() < since.UnixNano() {
		return took, nil
	}
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if back := a.back.Load(); back > a.lost.Load() {
			return max(took, time.Duration(back-since.UnixNano())), nil
		}
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("following for %s: %w", a.id, ctx.Err())
		case <-tick.C:
		}
	}
}

// An agent is the handler of its link's log, which says when the stream ends.
func (a *agent) Enabled(context.Context, slog.Level) bool { return true }

func (a *agent) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "the desired stream ended") {
		a.lost.Store(r.Time.UnixNano())
	}
	return nil
}

func (a *agent) WithAttrs([]slog.Attr) slog.Handler { return a }
func (a *agent) WithGroup(string) slog.Handler      { return a }
