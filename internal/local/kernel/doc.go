// Package kernel makes, finds and removes the objects in the Linux kernel that a local cluster consists of: network and
// mount namespaces, links, routes, cgroups. All are named after one Scope, so that they can be found again and removed
// even when nothing else is left of the cluster.
package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
)

// Scope names the objects of one cluster.
type Scope struct{ id string }

// ScopeOf is the scope of the cluster in a data folder; another folder is another cluster.
func ScopeOf(dataDir string) Scope {
	sum := sha256.Sum256([]byte(filepath.Clean(dataDir)))
	return Scope{id: hex.EncodeToString(sum[:])[:6]}
}

// ID tells clusters on one machine apart: six hex digits.
func (s Scope) ID() string { return s.id }

// Name is the prefix of namespaces and the name of the cgroup.
func (s Scope) Name() string { return "fairlead-" + s.id }

// Netns is the name of node i's network namespace, as in `ip netns list`.
func (s Scope) Netns(i int) string { return fmt.Sprintf("%s-%d", s.Name(), i) }

// NetnsFile is the file that keeps node i's network namespace.
func (s Scope) NetnsFile(i int) string { return filepath.Join(netnsDir, s.Netns(i)) }

// HostLink is the machine's end of the cable to the cluster.
func (s Scope) HostLink() string { return linkPrefix + s.id }

// Table is the name of the nftables table on the machine that lets pods reach the world outside.
func (s Scope) Table() string { return "fairlead_" + s.id }

// NodeCgroup is node i's cgroup below the root of every hierarchy, as the kubelet wants it.
func (s Scope) NodeCgroup(i int) string { return fmt.Sprintf("/%s/node-%d", s.Name(), i) }

const (
	netnsDir   = "/run/netns"
	linkPrefix = "fl-"
)

// Namespaces are the files of the namespaces that something runs in; an empty one stands for the caller's own.
type Namespaces struct{ Net, Mount string }
