//go:build linux

package kernel

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const mountinfo = `27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
42 27 0:38 / /other/unified rw shared:3 - cgroup2 cgroup2 rw
43 27 0:38 /sub /third rw - cgroup2 cgroup2 rw
44 27 0:40 / /mnt/with\040space rw - tmpfs tmpfs rw
`

func TestParseHierarchies(t *testing.T) {
	var got []string
	for _, h := range parseHierarchies(mountinfo) {
		got = append(got, h.dir)
	}
	want := []string{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpuset", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("hierarchies (-want +got):\n%s", d)
	}
}

func TestParseMountPoints(t *testing.T) {
	got := parseMountPoints(mountinfo)
	if got[0] != "/" || got[len(got)-1] != "/mnt/with space" {
		t.Errorf("mount points %q", got)
	}
}

func TestParseRoutes(t *testing.T) {
	table := "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n" +
		"eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
	want := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("192.0.2.0/24")}
	if d := cmp.Diff(want, parseRoutes(table), cmpopts.EquateComparable(netip.Prefix{})); d != "" {
		t.Errorf("routes (-want +got):\n%s", d)
	}
}

func TestParseCapability(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\tx\nCapEff:\t000001ffffffffff\n": true,
		"Name:\tx\nCapEff:\t000001fffeffffff\n": false,
		"":                                      false,
	} {
		if got := parseCapability(status, 24); got != want {
			t.Errorf("parseCapability(%q) = %v", status, got)
		}
	}
}

func FuzzMountinfo(f *testing.F) {
	f.Add(mountinfo)
	f.Fuzz(func(_ *testing.T, s string) {
		parseHierarchies(s)
		parseMountPoints(s)
		parseRoutes(s)
	})
}

func TestScope(t *testing.T) {
	a, b := ScopeOf("/home/me/.local/share/fairlead"), ScopeOf("/home/me/.local/share/fairlead/")
	if a != b {
		t.Errorf("%v and %v are the same folder", a, b)
	}
	if n := len(a.HostLink()); n > 15 {
		t.Errorf("link name %q has %d bytes, the kernel takes 15", a.HostLink(), n)
	}
}
