package peers

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"fairlead.dev/fairlead/internal/router/gate"
)

// LendPath is where a router lends places.
const LendPath = "/lend"

const headerPod = "Fairlead-Pod"

// backWait is how long a peer may take to notice that its place is back.
const backWait = time.Second

// words say on the wire how it went.
var words = map[gate.Outcome]string{gate.Unused: "unused", gate.Answered: "answered", gate.Refused: "refused", gate.Failed: "failed"}

func (p *Peers) borrow(ctx context.Context, peer, deployment string, avoid []string) (addr string, back func(gate.Outcome), err error) {
	// A place that is in use outlives the wish for more of them.
	using, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	giveUp := func() { stop(); cancel() } // else ctx, which outlives many of them, would keep what is to follow its end
	body, word := io.Pipe()
	q := url.Values{"deployment": {deployment}, "avoid": avoid}
	req, err := http.NewRequestWithContext(using, http.MethodPost, "http://"+peer+LendPath+"?"+q.Encode(), body)
	if err != nil {
		giveUp()
		return "", nil, fmt.Errorf("asking router %s: %w", peer, err)
	}
	res, err := p.client.Do(req)
	if err != nil {
		giveUp()
		if ctx.Err() == nil {
			p.miss(peer, missesLost)
		}
		return "", nil, fmt.Errorf("asking router %s: %w", peer, err)
	}
	addr = res.Header.Get(headerPod)
	if res.StatusCode != http.StatusOK || addr == "" || !stop() {
		giveUp()
		_ = res.Body.Close()
		return "", nil, fmt.Errorf("router %s answered %s", peer, res.Status)
	}
	return addr, func(o gate.Outcome) { go giveBack(word, res.Body, words[o], cancel) }, nil
}

// giveBack tells the lender how it went, and ends the stream when that has heard it.
func giveBack(word *io.PipeWriter, answer io.ReadCloser, text string, cancel context.CancelFunc) {
	late := time.AfterFunc(backWait, cancel)
	_, _ = io.WriteString(word, text) // An error is the stream's end, which says enough.
	_ = word.Close()
	_, _ = io.Copy(io.Discard, answer)
	late.Stop()
	cancel()
	_ = answer.Close()
}

// Lend answers a peer that asks for a place.
func (p *Peers) Lend(find func(deployment string) *gate.Gate) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !p.isRouter(r.RemoteAddr) {
			http.Error(w, "places are lent to routers only", http.StatusForbidden)
			return
		}
		q := r.URL.Query()
		g := find(q.Get("deployment"))
		if g == nil {
			http.Error(w, "there is no such deployment here", http.StatusNotFound)
			return
		}
		ticket, err := g.Lend(r.Context(), q["avoid"]...)
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		outcome := gate.Unused
		defer func() { ticket.Release(outcome) }()
		w.Header().Set(headerPod, ticket.Addr)
		w.WriteHeader(http.StatusOK)
		if http.NewResponseController(w).Flush() == nil {
			outcome = returned(r)
		}
	}
}

// returned waits until the place is back, and is how it went there.
func returned(r *http.Request) gate.Outcome {
	text, err := io.ReadAll(io.LimitReader(r.Body, 16))
	for o, word := range words {
		if err == nil && word == string(text) {
			return o
		}
	}
	<-r.Context().Done() // a router of another version says nothing
	return gate.Unused
}

// isRouter says whether a connection comes from one of the cluster's routers.
func (p *Peers) isRouter(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	from := net.ParseIP(host)
	if err != nil || from == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(slices.Concat(p.known, p.ending), func(addr string) bool {
		host, _, err := net.SplitHostPort(addr)
		return err == nil && from.Equal(net.ParseIP(host))
	})
}
