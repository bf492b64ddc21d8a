// Package netplan chooses the addresses of a local cluster:
//
//	base          10.250.0.0/16   the first of a few private ranges that nothing on the machine uses
//	base.0.1                      the machine's end of the cable to the cluster
//	base.0.2+i                    node i (node 0 carries the control plane of Kubernetes)
//	base.64+i.0/24                pods of node i
//	base.128.0/20                 Services; .128.1 is the API, .128.10 is DNS
package netplan

import (
	"errors"
	"fmt"
	"net/netip"
)

// MaxNodes is how many nodes the plan has room for.
const MaxNodes = 50

// ErrNoRange: every candidate range overlaps with something on this machine; the caller asks for one by flag.
var ErrNoRange = errors.New("no free private address range")

// Plan is a /16 and everything that is derived from it.
type Plan struct {
	Base netip.Prefix `json:"base"`
}

// Candidates are the ranges tried in order: in 10/8 high numbers, which home and office networks rarely use, then 172.16/12.
func Candidates() []netip.Prefix {
	var out []netip.Prefix
	for _, b := range []byte{250, 251, 249, 247, 243, 239, 233, 229} {
		out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, b, 0, 0}), 16))
	}
	for _, b := range []byte{30, 29, 27} {
		out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, b, 0, 0}), 16))
	}
	return out
}

// Choose takes the first candidate that overlaps with none of the ranges in use.
func Choose(used []netip.Prefix) (Plan, error) {
	for _, c := range Candidates() {
		if free(c, used) {
			return Plan{Base: c}, nil
		}
	}
	return Plan{}, fmt.Errorf("%w among %v; name one with --cidr", ErrNoRange, Candidates())
}

// Parse checks a range that the user asked for: an IPv4 /16.
func Parse(s string) (Plan, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() || p.Bits() != 16 || p.Masked() != p {
		return Plan{}, fmt.Errorf("address range %q: want an IPv4 network with 16 bits, such as 10.250.0.0/16", s)
	}
	return Plan{Base: p}, nil
}

func free(c netip.Prefix, used []netip.Prefix) bool {
	for _, u := range used {
		if u.Bits() > 0 && c.Overlaps(u) {
			return false
		}
	}
	return true
}

func (p Plan) addr(c, d byte) netip.Addr {
	b := p.Base.Addr().As4()
	return netip.AddrFrom4([4]byte{b[0], b[1], c, d})
}

// Host is the machine's own address on the cluster's network.
func (p Plan) Host() netip.Addr { return p.addr(0, 1) }

// Node is the address of node i.
func (p Plan) Node(i int) netip.Addr { return p.addr(0, byte(2+i)) }

// NodeNet is the network that nodes and the machine share.
func (p Plan) NodeNet() netip.Prefix { return netip.PrefixFrom(p.addr(0, 0), 24) }

// PodNet is the network of node i's pods.
func (p Plan) PodNet(i int) netip.Prefix { return netip.PrefixFrom(p.addr(byte(64+i), 0), 24) }

// Pods holds every node's pod network.
func (p Plan) Pods() netip.Prefix { return netip.PrefixFrom(p.addr(64, 0), 18) }

// Services is where Services get their addresses.
func (p Plan) Services() netip.Prefix { return netip.PrefixFrom(p.addr(128, 0), 20) }

// APIService is the Service address of the Kubernetes API.
func (p Plan) APIService() netip.Addr { return p.addr(128, 1) }

// DNS is the Service address of CoreDNS.
func (p Plan) DNS() netip.Addr { return p.addr(128, 10) }
