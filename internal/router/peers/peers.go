// Package peers divides the places at every pod among the routers that live, and lends those that are free.
//
// All routers see the same set of routers (the EndpointSlices of their Service) and so come to the same division, without asking each
// other. A router whose places are taken asks the others for one of theirs: a request over HTTP/2 whose answer is the pod's address,
// and whose own body says, when the place is not used any more, how it went. When either of both dies, the stream ends and the
// place is free again. Places are lent to the addresses of routers only: in a cluster's network no pod has another's. A peer
// that does not answer is left out within two seconds, whatever the cluster says of it, and its places are divided anew; until all
// have noticed, and while requests that a lost router lent for are still running, a pod may get more than its share for a moment.
package peers

import (
	"context"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/router/gate"
)

const (
	pingEvery  = time.Second
	pingWait   = time.Second
	missesLost = 2
)

// Peers are the routers of a cluster, seen from one of them.
type Peers struct {
	self    string
	changed func()
	client  *http.Client
	mu      sync.Mutex
	known   []string       // in order; as the cluster says
	ending  []string       // have no places any more, but requests
	misses  map[string]int // pings in a row without an answer
}

// New makes the view of the router whose internal address is self. changed is told, without a lock held, when a peer is lost or back.
func New(self string, changed func()) *Peers {
	from, _, _ := net.SplitHostPort(self)
	dialer := &net.Dialer{Timeout: pingWait}
	if ip := net.ParseIP(from); ip != nil { // the address by which the others know it
		dialer.LocalAddr = &net.TCPAddr{IP: ip}
	}
	t := &http.Transport{DialContext: dialer.DialContext, Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{SendPingTimeout: 2 * time.Second, PingTimeout: 2 * time.Second}}
	t.Protocols.SetUnencryptedHTTP2(true)
	return &Peers{self: self, changed: changed, client: &http.Client{Transport: t}, misses: map[string]int{}}
}

// Set says which routers there are, by their internal addresses: those that take requests, and those that finish what they have.
func (p *Peers) Set(routers []string, ending ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ending = ending
	p.known = slices.Compact(slices.Sorted(slices.Values(routers)))
	for addr := range p.misses {
		if !slices.Contains(p.known, addr) {
			delete(p.misses, addr)
		}
	}
}

// live are the routers that places are divided among. A router that knows of none is alone.
func (p *Peers) live() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, addr := range p.known {
		if addr == p.self || p.misses[addr] < missesLost {
			out = append(out, addr)
		}
	}
	if len(out) == 0 {
		return []string{p.self}
	}
	return out
}

// Slots implements table.Share.
func (p *Peers) Slots(pod string, concurrency int) int {
	return share(p.live(), p.self, pod, concurrency)
}

// share is how many of a pod's places are one router's. Each gets as many as the others; what is left over goes to those whom the
// hash of router and pod puts first, so that few places move when a router comes or goes.
func share(routers []string, router, pod string, places int) int {
	if !slices.Contains(routers, router) {
		return 0
	}
	before := 0
	mine := rank(router, pod)
	for _, other := range routers {
		if r := rank(other, pod); r > mine || r == mine && other < router {
			before++
		}
	}
	n := places / len(routers)
	if before < places%len(routers) {
		n++
	}
	return n
}

func rank(router, pod string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, router+"\x00"+pod)
	// FNV's high bits hardly change with the last bytes; these steps (of MurmurHash3) spread them.
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// Lenders implements table.Share: the other routers, with as many places as they have at the deployment's pods.
func (p *Peers) Lenders(deployment string, pods []string, concurrency int) []gate.Lender {
	var out []gate.Lender
	routers := p.live()
	for _, peer := range routers {
		n := 0
		for _, pod := range pods {
			n += share(routers, peer, pod, concurrency)
		}
		if peer != p.self && n > 0 {
			out = append(out, gate.Lender{Name: peer, Slots: n, Borrow: func(ctx context.Context, avoid []string) (string, func(gate.Outcome), error) {
				return p.borrow(ctx, peer, deployment, avoid)
			}})
		}
	}
	return out
}

// Run looks after the others until ctx ends.
func (p *Peers) Run(ctx context.Context) error {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			p.client.CloseIdleConnections()
			return ctx.Err()
		case <-tick.C:
		}
		p.mu.Lock()
		known := slices.Clone(p.known)
		p.mu.Unlock()
		var group sync.WaitGroup
		for _, peer := range known {
			if peer != p.self {
				group.Go(func() { p.ping(ctx, peer) })
			}
		}
		group.Wait()
	}
}

func (p *Peers) ping(ctx context.Context, peer string) {
	ctx, cancel := context.WithTimeout(ctx, pingWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+peer+"/healthz", nil)
	if err != nil {
		return
	}
	res, err := p.client.Do(req)
	if err != nil {
		p.miss(peer, 1)
		return
	}
	_ = res.Body.Close()
	p.mu.Lock()
	back := p.misses[peer] >= missesLost
	delete(p.misses, peer)
	p.mu.Unlock()
	if back {
		p.changed()
	}
}

// miss counts times that a peer did not answer.
func (p *Peers) miss(peer string, times int) {
	p.mu.Lock()
	before := p.misses[peer]
	p.misses[peer] += times
	p.mu.Unlock()
	if before < missesLost && before+times >= missesLost {
		p.changed()
	}
}
