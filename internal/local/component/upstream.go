package component

import (
	"path"
	"strings"
)

// Upstream is an image of another project that the extension installs. The local cluster makes it from that project's Go
// module, so that no registry is needed; elsewhere it is pulled under the same name.
type Upstream struct {
	// Image is the project's own name of it, with the tag of its release.
	Image string
	// Module and Version are what it is built from.
	Module, Version string
	// Programs maps paths in the image to the packages of what is there.
	Programs map[string]string
	// Entrypoint is what a container runs that is given no command; the project may leave it open.
	Entrypoint []string
	// Stamps are variables that the project's own build sets: its version, and where it expects the node's folders.
	Stamps map[string]string
}

// versionVar is where Prometheus' projects keep their version.
const versionVar = "github.com/prometheus/common/version.Version"

// Upstreams are those images. Charts name the same ones, and localcluster/go.mod requires the same versions (tests compare).
var Upstreams = []Upstream{{
	Image: "registry.k8s.io/jobset/jobset:v0.10.1", Module: jobsetModule, Version: "v0.10.1",
	Programs:   map[string]string{"/manager": jobsetModule},
	Entrypoint: []string{"/manager"},
	Stamps:     map[string]string{jobsetModule + "/pkg/version.GitVersion": "v0.10.1"},
}, {
	Image: "quay.io/prometheus-operator/prometheus-operator:v0.91.0", Module: promOperatorModule, Version: "v0.91.0",
	Programs:   map[string]string{"/bin/operator": promOperatorModule + "/cmd/operator"},
	Entrypoint: []string{"/bin/operator"},
	Stamps:     map[string]string{versionVar: "0.91.0"},
}, {
	Image: "quay.io/prometheus-operator/prometheus-config-reloader:v0.91.0", Module: promOperatorModule, Version: "v0.91.0",
	Programs:   map[string]string{"/bin/prometheus-config-reloader": promOperatorModule + "/cmd/prometheus-config-reloader"},
	Entrypoint: []string{"/bin/prometheus-config-reloader"},
	Stamps:     map[string]string{versionVar: "0.91.0"},
}, {
	// The operator's own choice of Prometheus; as a Go module, v3.11.3 is v0.311.3.
	Image: "quay.io/prometheus/prometheus:v3.11.3", Module: prometheusModule, Version: "v0.311.3",
	Programs:   map[string]string{"/bin/prometheus": prometheusModule + "/cmd/prometheus"},
	Entrypoint: []string{"/bin/prometheus"},
	Stamps:     map[string]string{versionVar: "3.11.3"},
}, {
	Image: "registry.k8s.io/kube-state-metrics/kube-state-metrics:v2.18.0", Module: stateMetricsModule, Version: "v2.18.0",
	Programs:   map[string]string{"/kube-state-metrics": stateMetricsModule},
	Entrypoint: []string{"/kube-state-metrics", "--port=8080", "--telemetry-port=8081"},
	Stamps:     map[string]string{versionVar: "v2.18.0"},
}, {
	Image: "registry.k8s.io/nfd/node-feature-discovery:v0.18.3", Module: nfdModule, Version: "v0.18.3",
	Programs: map[string]string{
		"/usr/bin/nfd-master": nfdModule + "/cmd/nfd-master",
		"/usr/bin/nfd-worker": nfdModule + "/cmd/nfd-worker",
	},
	Stamps: map[string]string{
		nfdModule + "/pkg/version.version":           "v0.18.3",
		nfdModule + "/pkg/utils/hostpath.pathPrefix": "/host-",
	},
}}

const (
	jobsetModule       = "sigs.k8s.io/jobset"
	promOperatorModule = "github.com/prometheus-operator/prometheus-operator"
	prometheusModule   = "github.com/prometheus/prometheus"
	stateMetricsModule = "k8s.io/kube-state-metrics/v2"
	nfdModule          = "sigs.k8s.io/node-feature-discovery"
)

// Executable is the file name that the go command gives a package's program.
func Executable(pkg string) string {
	base := path.Base(pkg)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		return path.Base(path.Dir(pkg))
	}
	return base
}
