// Package render writes the configuration of every part of the local cluster as text. It is pure: the same Cluster gives
// the same files.
package render

import (
	"bytes"
	"embed"
	"encoding/base64"
	"fmt"
	"text/template"

	"fairlead.dev/fairlead/internal/local/component"
	"fairlead.dev/fairlead/internal/local/netplan"
)

//go:embed templates
var templates embed.FS

var parsed = template.Must(template.New("").Funcs(template.FuncMap{
	"b64": func(b []byte) string { return base64.StdEncoding.EncodeToString(b) },
}).ParseFS(templates, "templates/*"))

// Image names that the cluster itself uses.
const (
	PauseImage   = "registry.k8s.io/pause:" + component.PauseVersion
	CoreDNSImage = "registry.k8s.io/coredns/coredns:" + component.CoreDNSVersion
)

// Cluster is what the files depend on.
type Cluster struct {
	Plan netplan.Plan
	// PKIDir holds certificates and keys.
	PKIDir string
	// Upstreams are the name servers that answer for the world outside; none: only names of the cluster resolve.
	Upstreams []string
}

// Node is one node's part of it.
type Node struct {
	Cluster
	Index int
	// Name is the node's name in Kubernetes.
	Name string
	// Dir is the node's folder for configuration.
	Dir string
	// Cgroup is the kubelet's cgroup root.
	Cgroup string
	// CNIDir has the CNI plugins.
	CNIDir string
	// MTU is the largest packet of the pod network in bytes.
	MTU int
	// RestrictOOM: this process may not give others a lower OOM score than its own.
	RestrictOOM bool
	// Snapshotter stores images' layers: overlayfs, or native where overlays cannot be stacked.
	Snapshotter string
}

// PauseImage is the image that holds a pod's namespaces.
func (n Node) PauseImage() string { return PauseImage }

// CoreDNSImage is the image of the cluster's DNS.
func (c Cluster) CoreDNSImage() string { return CoreDNSImage }

// PodNet is the network of the node's pods.
func (n Node) PodNet() string { return n.Plan.PodNet(n.Index).String() }

// Containerd is containerd's configuration (TOML).
func (n Node) Containerd() ([]byte, error) { return execute("containerd.toml", n) }

// Kubelet is the KubeletConfiguration.
func (n Node) Kubelet() ([]byte, error) { return execute("kubelet.yaml", n) }

// KubeProxy is the KubeProxyConfiguration.
func (n Node) KubeProxy() ([]byte, error) { return execute("kube-proxy.yaml", n) }

// CNI is the list of network plugins that containerd runs for each pod.
func (n Node) CNI() ([]byte, error) { return execute("cni.conflist", n) }

// ResolvConf is the node's own name resolution, which pods with dnsPolicy Default get.
func (c Cluster) ResolvConf() ([]byte, error) { return execute("resolv.conf", c) }

// CoreDNS is the DNS add-on's manifest.
func (c Cluster) CoreDNS() ([]byte, error) { return execute("coredns.yaml", c) }

// Kubeconfig is the file by which a client reaches the API at a URL with a certificate of its own.
type Kubeconfig struct {
	Name, Server  string
	CA, Cert, Key []byte // PEM
}

// Render writes it.
func (k Kubeconfig) Render() ([]byte, error) { return execute("kubeconfig", k) }

func execute(name string, data any) ([]byte, error) {
	var b bytes.Buffer
	if err := parsed.ExecuteTemplate(&b, name, data); err != nil {
		return nil, fmt.Errorf("rendering %s: %w", name, err)
	}
	return b.Bytes(), nil
}
