package kernel

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/local/hostpkg"
	"fairlead.dev/fairlead/internal/local/netplan"
)

// bridge is the name of node 0's switch, to which the machine and the other nodes are cabled.
const bridge = "br0"

// Network is what Build makes.
type Network struct {
	Scope    Scope
	Plan     netplan.Plan
	Nodes    int
	Internet bool // let nodes and pods reach what the machine reaches
	Forwards bool // the machine forwarded packets before the cluster was
}

// Build makes namespaces, links, addresses and routes. What is there already stays as it is.
//
//	machine: fl-…  10.250.0.1 ──cable── host ┐
//	node 0:  br0   10.250.0.2 ───────────────┤ (bridge)
//	node 1:  eth0  10.250.0.3 ──cable── n1 ──┘
func (n Network) Build(ctx context.Context) error {
	for i := range n.Nodes {
		if err := MakeNetns(n.Scope.NetnsFile(i)); err != nil {
			return err
		}
		if err := n.sysctls(i); err != nil {
			return err
		}
	}
	mtu := strconv.Itoa(UplinkMTU())
	for i := range n.Nodes {
		if err := n.buildNode(ctx, i, mtu); err != nil {
			return fmt.Errorf("building the network of node %d: %w", i, err)
		}
	}
	if err := n.buildRoutes(ctx); err != nil {
		return fmt.Errorf("building routes: %w", err)
	}
	if n.Internet {
		return n.openUplink(ctx)
	}
	return n.closeUplink(ctx)
}

func (n Network) buildNode(ctx context.Context, i int, mtu string) error {
	ns, first := n.Scope.Netns(i), n.Scope.Netns(0)
	dev, peer, peerNS := bridge, "host", ""
	cmds := [][]string{{"-n", ns, "link", "set", "lo", "up"}}
	if i == 0 {
		if !hasLink(ctx, ns, bridge) {
			cmds = append(cmds, []string{"-n", ns, "link", "add", bridge, "mtu", mtu, "type", "bridge"})
		}
		if link := n.Scope.HostLink(); !hasLink(ctx, "", link) {
			cmds = append(cmds, []string{"link", "add", link, "mtu", mtu, "type", "veth", "peer", "name", peer, "mtu", mtu, "netns", ns})
		}
		cmds = append(cmds,
			[]string{"addr", "replace", n.Plan.Host().String() + "/24", "dev", n.Scope.HostLink()},
			[]string{"link", "set", n.Scope.HostLink(), "up"})
	} else {
		dev, peer, peerNS = "eth0", fmt.Sprintf("n%d", i), first
		if !hasLink(ctx, peerNS, peer) {
			cmds = append(cmds, []string{"-n", peerNS, "link", "add", peer, "mtu", mtu, "type", "veth", "peer", "name", dev, "mtu", mtu, "netns", ns})
		}
	}
	cmds = append(cmds,
		[]string{"-n", first, "link", "set", peer, "master", bridge, "up"},
		[]string{"-n", ns, "addr", "replace", n.Plan.Node(i).String() + "/24", "dev", dev},
		[]string{"-n", ns, "link", "set", dev, "up"},
		[]string{"-n", ns, "route", "replace", "default", "via", n.Plan.Host().String()})
	return ipAll(ctx, cmds)
}

func (n Network) buildRoutes(ctx context.Context) error {
	var cmds [][]string
	for i := range n.Nodes {
		cmds = append(cmds, []string{"route", "replace", n.Plan.PodNet(i).String(), "via", n.Plan.Node(i).String()})
		for j := range n.Nodes {
			if i != j {
				cmds = append(cmds, []string{"-n", n.Scope.Netns(i), "route", "replace", n.Plan.PodNet(j).String(), "via", n.Plan.Node(j).String()})
			}
		}
	}
	cmds = append(cmds, []string{"route", "replace", n.Plan.Services().String(), "via", n.Plan.Node(0).String()})
	return ipAll(ctx, cmds)
}

// sysctls sets what a router needs.
func (n Network) sysctls(i int) error {
	return Namespaces{Net: n.Scope.NetnsFile(i)}.Do(func() error {
		return setSysctls(map[string]string{"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/send_redirects": "0"})
	})
}

// openUplink lets nodes and pods out through the machine, and nothing in: connections can only be opened from inside.
// Where the machine did not forward packets before, it still forwards none but those of local clusters.
func (n Network) openUplink(ctx context.Context) error {
	only := ""
	if !n.Forwards {
		only = fmt.Sprintf("iifname != %q oifname != %q drop;", linkPrefix+"*", linkPrefix+"*")
	}
	rules := fmt.Sprintf(`table ip %[1]s
delete table ip %[1]s
table ip %[1]s {
  chain out {
    type nat hook postrouting priority srcnat;
    ip saddr %[2]s ip daddr != %[2]s masquerade
  }
  chain through {
    type filter hook forward priority filter;
    %[4]s
    oifname %[3]q ct state established,related accept
    oifname %[3]q drop
  }
}
`, n.Scope.Table(), n.Plan.Base, n.Scope.HostLink(), only)
	cmd := exec.CommandContext(ctx, tool("nft"), "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("letting pods out with nft: %w: %s (start with --internet=false to do without)", err, bytes.TrimSpace(out))
	}
	return setSysctls(map[string]string{ipForward: "1"})
}

// closeUplink keeps nodes and pods in.
func (n Network) closeUplink(ctx context.Context) error {
	if tool("nft") == "" || !tableExists(ctx, n.Scope.Table()) {
		return nil
	}
	if out, err := exec.CommandContext(ctx, tool("nft"), "delete", "table", "ip", n.Scope.Table()).CombinedOutput(); err != nil {
		return fmt.Errorf("removing the nftables table: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

const ipForward = "net/ipv4/ip_forward"

func tableExists(ctx context.Context, name string) bool {
	return exec.CommandContext(ctx, tool("nft"), "list", "table", "ip", name).Run() == nil
}

// Remove removes the links and namespaces of up to MaxNodes nodes. Processes in the namespaces must be gone.
func (n Network) Remove(ctx context.Context) error {
	var errs []error
	if hasLink(ctx, "", n.Scope.HostLink()) {
		errs = append(errs, ipAll(ctx, [][]string{{"link", "del", n.Scope.HostLink()}}))
	}
	errs = append(errs, n.closeUplink(ctx))
	files, err := filepath.Glob(filepath.Join(netnsDir, n.Scope.Name()+"-*"))
	errs = append(errs, err)
	for _, f := range files {
		errs = append(errs, RemoveNamespace(f))
	}
	return errors.Join(errs...)
}

// removeNetnsDir removes the folder of named network namespaces if it is empty.
func removeNetnsDir() error {
	err := os.Remove(netnsDir)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if entries, rerr := os.ReadDir(netnsDir); rerr == nil && len(entries) > 0 {
		return nil // someone else's namespaces
	}
	return err
}

// UsedRanges are the networks that the machine has addresses in or routes to.
func UsedRanges() ([]netip.Prefix, error) {
	var out []netip.Prefix
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("listing the machine's addresses: %w", err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Masked())
		}
	}
	data, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return nil, fmt.Errorf("listing the machine's routes: %w", err)
	}
	return append(out, parseRoutes(string(data))...), nil
}

// parseRoutes reads the destinations of the kernel's IPv4 routing table, whose numbers are little-endian hex.
func parseRoutes(table string) []netip.Prefix {
	var out []netip.Prefix
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 8 {
			continue
		}
		dst, err1 := hex.DecodeString(f[1])
		mask, err2 := hex.DecodeString(f[7])
		if err1 != nil || err2 != nil || len(dst) != 4 || len(mask) != 4 {
			continue
		}
		ones, _ := net.IPv4Mask(mask[3], mask[2], mask[1], mask[0]).Size()
		out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{dst[3], dst[2], dst[1], dst[0]}), ones))
	}
	return out
}

// UplinkMTU is the packet size of the link that the default route takes; pods must not send larger packets.
func UplinkMTU() int {
	data, _ := os.ReadFile("/proc/net/route")
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 7 && f[1] == "00000000" && f[7] == "00000000" {
			if i, err := net.InterfaceByName(f[0]); err == nil {
				return min(i.MTU, 9000)
			}
		}
	}
	return 1500
}

func hasLink(ctx context.Context, ns, link string) bool {
	args := []string{"link", "show", "dev", link}
	if ns != "" {
		args = append([]string{"-n", ns}, args...)
	}
	return exec.CommandContext(ctx, tool("ip"), args...).Run() == nil
}

func ipAll(ctx context.Context, cmds [][]string) error {
	for _, args := range cmds {
		if out, err := exec.CommandContext(ctx, tool("ip"), args...).CombinedOutput(); err != nil {
			return fmt.Errorf("running ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
		}
	}
	return nil
}

func tool(name string) string { return hostpkg.Path(name) }
