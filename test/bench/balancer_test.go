package bench

import (
	"io"
	"net"
	"sync"
	"testing"

	"fairlead.dev/fairlead/internal/testing/freeport"
)

// balancer is a load balancer of TCP connections: each goes to the next server that answers.
type balancer struct {
	addr string

	mu      sync.Mutex
	servers []string
	next    int
}

func startBalancer(tb testing.TB) *balancer {
	tb.Helper()
	p := &balancer{addr: freeport.Address(tb)}
	l, err := net.Listen("tcp", p.addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *balancer) add(server string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.servers = append(p.servers, server)
}

// order is the servers, the one whose turn it is first.
func (p *balancer) order() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]string, len(p.servers))
	for i := range out {
		out[i] = p.servers[(p.next+i)%len(out)]
	}
	p.next++
	return out
}

func (p *balancer) serve(client net.Conn) {
	defer client.Close()
	for _, addr := range p.order() {
		server, err := net.Dial("tcp", addr)
		if err != nil {
			continue
		}
		var once sync.Once
		end := func() { once.Do(func() { client.Close(); server.Close() }) }
		go func() {
			defer end()
			_, _ = io.Copy(server, client)
		}()
		_, _ = io.Copy(client, server)
		end()
		return
	}
}
