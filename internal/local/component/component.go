// Package component builds the programs that the local cluster is made of (Kubernetes, etcd, containerd, CoreDNS, the
// JobSet controller) from their Go modules, once per set of sources, and finds them again.
package component

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
)

// Versions of what is built, as their projects name them. They must agree with localcluster/go.mod (a test compares).
const (
	KubernetesVersion = "v1.36.3"
	ContainerdVersion = "v2.3.7"
	CoreDNSVersion    = "v1.14.7"
	JobSetVersion     = "v0.10.1"
	PauseVersion      = "3.10.2"
)

// programs maps the file name of each program to the package it is built from.
var programs = map[string]string{
	"kube":                    "./cmd/kube",
	"pause":                   "./cmd/pause",
	"coredns":                 "./cmd/coredns",
	"jobset":                  "sigs.k8s.io/jobset",
	"containerd":              "github.com/containerd/containerd/v2/cmd/containerd",
	"containerd-shim-runc-v2": "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
	"ctr":                     "github.com/containerd/containerd/v2/cmd/ctr",
}

// KubeNames are the names under which the kube binary is started; each is one component of Kubernetes.
var KubeNames = []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"}

// Names are the file names of all programs, sorted.
func Names() []string {
	out := make([]string, 0, len(programs))
	for n := range programs {
		out = append(out, n)
	}
	sort.Strings(out)
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
