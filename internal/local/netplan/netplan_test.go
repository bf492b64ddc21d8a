package netplan

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChoose(t *testing.T) {
	tests := map[string]struct {
		used []string
		want string
	}{
		"nothing in use":            {nil, "10.250.0.0/16"},
		"a default route is no use": {[]string{"0.0.0.0/0", "192.0.2.0/24"}, "10.250.0.0/16"},
		"an address inside":         {[]string{"10.250.3.4/32"}, "10.251.0.0/16"},
		"a route around":            {[]string{"10.0.0.0/8"}, "172.30.0.0/16"},
		"some of each":              {[]string{"10.250.0.0/16", "10.251.9.0/24", "10.249.0.0/17"}, "10.247.0.0/16"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := Choose(prefixes(tt.used))
			if err != nil || got.Base.String() != tt.want {
				t.Errorf("Choose = %v, %v; want %s", got.Base, err, tt.want)
			}
		})
	}
	t.Run("everything in use", func(t *testing.T) {
		if _, err := Choose(prefixes([]string{"10.0.0.0/8", "172.16.0.0/12"})); !errors.Is(err, ErrNoRange) {
			t.Errorf("error %v, want ErrNoRange", err)
		}
	})
}

func TestAddresses(t *testing.T) {
	p, err := Parse("10.250.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	got := []string{
		p.Host().String(), p.Node(0).String(), p.Node(2).String(), p.NodeNet().String(), p.PodNet(0).String(),
		p.PodNet(MaxNodes - 1).String(), p.Pods().String(), p.Services().String(), p.APIService().String(), p.DNS().String(),
	}
	want := []string{
		"10.250.0.1", "10.250.0.2", "10.250.0.4", "10.250.0.0/24", "10.250.64.0/24",
		"10.250.113.0/24", "10.250.64.0/18", "10.250.128.0/20", "10.250.128.1", "10.250.128.10",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("addresses (-want +got):\n%s", d)
	}
	if last := p.PodNet(MaxNodes - 1); !p.Pods().Contains(last.Addr()) {
		t.Errorf("%v is outside of %v", last, p.Pods())
	}
}

func TestParse(t *testing.T) {
	for _, bad := range []string{"", "10.250.0.0", "10.250.0.0/24", "10.250.1.0/16", "fd00::/16", "10.300.0.0/16"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("Parse(%q) succeeded", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("10.250.0.0/16")
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := Parse(s); err == nil && !p.Base.Contains(p.Node(MaxNodes-1)) {
			t.Errorf("node address outside of %v", p.Base)
		}
	})
}

func prefixes(in []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range in {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}
