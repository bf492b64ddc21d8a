// Package component builds the programs that the local cluster is made of (Kubernetes, etcd, containerd, CoreDNS) and those
// of other projects that the extension installs, from their Go modules, once per set of sources, and finds them again.
package component

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Versions of what is built, as their projects name them. They must agree with localcluster/go.mod (a test compares).
const (
	KubernetesVersion = "v1.36.3"
	ContainerdVersion = "v2.3.7"
	CoreDNSVersion    = "v1.14.7"
	PauseVersion      = "3.10.2"
)

// programs maps the file name of each of the cluster's own programs to the package it is built from.
var programs = map[string]string{
	"kube":                    "./cmd/kube",
	"pause":                   "./cmd/pause",
	"coredns":                 "./cmd/coredns",
	"containerd":              "github.com/containerd/containerd/v2/cmd/containerd",
	"containerd-shim-runc-v2": "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
	"ctr":                     "github.com/containerd/containerd/v2/cmd/ctr",
}

// KubeNames are the names under which the kube binary is started; each is one component of Kubernetes.
var KubeNames = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"}

// Names are the file names of all programs, sorted.
func Names() []string { return slices.Sorted(maps.Keys(packages())) }

// packages maps the file name of every program to its package.
func packages() map[string]string {
	out := maps.Clone(programs)
	for _, u := range Upstreams {
		for _, pkg := range u.Programs {
			out[Executable(pkg)] = pkg
		}
	}
	return out
}

// Set is a folder that holds all programs.
type Set struct{ Dir string }

// Path is the file of one program.
func (s Set) Path(name string) string { return filepath.Join(s.Dir, name) }

// Find looks for the programs in the folders in order, and takes the first that has all of them.
func Find(dirs ...string) (Set, error) {
	var missing string
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		if missing = firstMissing(dir); missing == "" {
			return Set{Dir: dir}, nil
		}
	}
	return Set{}, fmt.Errorf("the programs of the local cluster are not built (no %s in %v): run `make` in Fairlead's sources, "+
		"or use a cluster you have with `fairlead up --kubeconfig PATH`", missing, dirs)
}

func firstMissing(dir string) string {
	for _, n := range Names() {
		if info, err := os.Stat(filepath.Join(dir, n)); err != nil || !info.Mode().IsRegular() {
			return n
		}
	}
	return ""
}
