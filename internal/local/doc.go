// Package local brings up, inspects and takes down Fairlead on one machine: a real Kubernetes cluster in network and
// mount namespaces of its own, and the control plane beside it.
//
//	fairlead up ── writes config.json ──▶ supervisor (detached) ──▶ etcd, kube-apiserver, … containerd, kubelet ×N, server
//	     │                                    │ state.json
//	     └────────── follows ◀────────────────┘
//
// All files are in one data folder:
//
//	config.json  kubeconfig  pki/  etcd/  server/        kept by `down --keep-data`
//	nodes/<i>/   lib/ log/ and the configuration of node i, likewise
//	bin/         links under the names of the components
//	logs/        one file per component
//	run/         state.json, parts/, ns/: what is there only while it runs
package local

import (
	"os"
	"path/filepath"
	"strconv"
)

// Folder is the data folder of one local cluster.
type Folder string

// DefaultFolder is FAIRLEAD_DATA_DIR, or fairlead in the user's folder for data (XDG_DATA_HOME or ~/.local/share).
func DefaultFolder() Folder {
	if d := os.Getenv("FAIRLEAD_DATA_DIR"); d != "" {
		return Folder(d)
	}
	if d := os.Getenv("XDG_DATA_HOME"); d != "" {
		return Folder(filepath.Join(d, "fairlead"))
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "/var/lib/fairlead"
	}
	return Folder(filepath.Join(home, ".local", "share", "fairlead"))
}

// Path joins the folder and a path below it.
func (f Folder) Path(elem ...string) string {
	return filepath.Join(append([]string{string(f)}, elem...)...)
}

// Kubeconfig is the file by which the cluster's administrator reaches its API, with any kubectl of the machine.
func (f Folder) Kubeconfig() string { return f.Path("kubeconfig") }

// RunDir is where the supervisor keeps its state.
func (f Folder) RunDir() string { return f.Path("run") }

// Log is the log file of a component.
func (f Folder) Log(component string) string { return f.Path("logs", component+".log") }

// ServerDir is the control plane's data folder.
func (f Folder) ServerDir() string { return f.Path("server") }

func (f Folder) configFile() string { return f.Path("config.json") }

func (f Folder) node(i int, elem ...string) string {
	return f.Path(append([]string{"nodes", strconv.Itoa(i)}, elem...)...)
}

func (f Folder) mountns(i int) string { return f.Path("run", "ns", "node-"+strconv.Itoa(i)) }

// NodeName is the name of node i in Kubernetes.
func NodeName(i int) string { return "fairlead-" + strconv.Itoa(i) }
