package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/local/kernel"
	"fairlead.dev/fairlead/internal/local/render"
	"fairlead.dev/fairlead/internal/local/supervisor"
)

// eachNode does something for all nodes at once.
func (r *runner) eachNode(do func(ctx context.Context, i int) error) func(context.Context) error {
	return func(ctx context.Context) error {
		errs := make([]error, r.config.Nodes)
		var wg sync.WaitGroup
		for i := range r.config.Nodes {
			wg.Go(func() { errs[i] = do(ctx, i) })
		}
		wg.Wait()
		return errors.Join(errs...)
	}
}

// node is what node i's configuration is rendered from.
func (r *runner) node(i int) render.Node {
	n := render.Node{
		Cluster: r.cluster(), Index: i, Name: NodeName(i), Dir: r.folder.node(i), CNIDir: cniDir(), MTU: kernel.UplinkMTU(),
		Cgroup: kernel.ScopeOf(string(r.folder)).NodeCgroup(i), RestrictOOM: !kernel.MayLowerOOMScore(), Snapshotter: "overlayfs",
	}
	if kernel.IsOverlay(r.folder.node(i, "lib")) {
		n.Snapshotter = "native"
	}
	return n
}

// prepareNode writes node i's configuration and makes its mount namespace.
func (r *runner) prepareNode(i int) error {
	for _, dir := range []string{"lib/kubelet", "lib/containerd", "lib/cni", "log/pods", "log/containers"} {
		if err := os.MkdirAll(r.folder.node(i, dir), 0o711); err != nil {
			return fmt.Errorf("making the node's folders: %w", err)
		}
	}
	n := r.node(i)
	for name, text := range map[string]func() ([]byte, error){
		"containerd.toml": n.Containerd, "kubelet.yaml": n.Kubelet, "kube-proxy.yaml": n.KubeProxy,
		"cni/10-fairlead.conflist": n.CNI, "resolv.conf": n.ResolvConf,
	} {
		data, err := text()
		if err != nil {
			return err
		}
		if err := writeIfChanged(r.folder.node(i, name), data, 0o644); err != nil {
			return fmt.Errorf("writing the node's configuration: %w", err)
		}
	}
	if err := r.writeKubeconfig(n.Name, r.folder.node(i, "kubelet.kubeconfig")); err != nil {
		return err
	}
	if err := r.writeKubeconfig("kube-proxy", r.folder.node(i, "kube-proxy.kubeconfig")); err != nil {
		return err
	}
	keep, err := kernel.Keep(string(r.folder), r.config.Components, r.config.CacheDir)
	if err != nil {
		return err
	}
	defer keep.Close()
	return kernel.MakeMountns(r.folder.mountns(i), func() error { return nodeMounts(r.folder, i, keep) })
}

// nodeMounts gives a node its own /run, /var/lib and /var/log, so that nodes do not meet each other or the machine's own
// container runtime there. It runs inside the node's new mount namespace.
func nodeMounts(f Folder, i int, keep *kernel.Keeper) error {
	resolver, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Both are opened before either is mounted: the data folder may itself be in one of the two places.
	lib, err := os.Open(f.node(i, "lib"))
	if err != nil {
		return err
	}
	defer lib.Close()
	logs, err := os.Open(f.node(i, "log"))
	if err != nil {
		return err
	}
	defer logs.Close()
	for to, from := range map[string]*os.File{"/var/lib": lib, "/var/log": logs} {
		if err := kernel.Bind(fmt.Sprintf("/proc/self/fd/%d", from.Fd()), to); err != nil {
			return err
		}
	}
	if err := kernel.Tmpfs("/run"); err != nil {
		return err
	}
	if err := keep.Restore(); err != nil {
		return err
	}
	for _, dir := range []string{"/run/containerd", "/run/lock"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if strings.HasPrefix(resolver, "/run/") {
		if err := os.MkdirAll(filepath.Dir(resolver), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(resolver, nil, 0o644); err != nil {
			return err
		}
	}
	if resolver == "" {
		return nil
	}
	return kernel.Bind(f.node(i, "resolv.conf"), resolver)
}

func (r *runner) startContainerd(ctx context.Context, i int) error {
	p := r.part(fmt.Sprintf("containerd@%d", i), i, tierAPI, "--config="+r.folder.node(i, "containerd.toml"), "--log-level=info")
	p.Spec.Env = append(p.Spec.Env, r.proxies()...)
	p.Grace = 5 * time.Second
	p.Version += fileVersion(r.folder.node(i, "containerd.toml"))
	p.Ready = func(ctx context.Context) error {
		_, err := r.ctr(ctx, i, "version")
		return err
	}
	return r.super.Start(ctx, p)
}

// startNodes starts the kubelet and kube-proxy of every node and waits until Kubernetes calls all nodes ready.
func (r *runner) startNodes(ctx context.Context) error {
	err := r.eachNode(func(ctx context.Context, i int) error {
		return errors.Join(r.super.Start(ctx, r.kubelet(i)), r.super.Start(ctx, r.kubeProxy(i)))
	})(ctx)
	if err != nil {
		return err
	}
	return poll(ctx, func(ctx context.Context) error {
		for i := range r.config.Nodes {
			if err := r.api.NodesReady(ctx, []string{NodeName(i)}, r.super.Since(kubeletName(i))); err != nil {
				return err
			}
		}
		return nil
	})
}

func kubeletName(i int) string { return fmt.Sprintf("kubelet@%d", i) }

func (r *runner) kubelet(i int) supervisor.Part {
	p := r.part(kubeletName(i), i, tierNode,
		"--config="+r.folder.node(i, "kubelet.yaml"), "--kubeconfig="+r.folder.node(i, "kubelet.kubeconfig"),
		"--hostname-override="+NodeName(i), "--node-ip="+r.config.Plan.Node(i).String(), "--root-dir=/var/lib/kubelet",
		"--cert-dir=/var/lib/kubelet/pki")
	p.Version += fileVersion(r.folder.node(i, "kubelet.yaml"))
	return p
}

func (r *runner) kubeProxy(i int) supervisor.Part {
	p := r.part(fmt.Sprintf("kube-proxy@%d", i), i, tierNode, "--config="+r.folder.node(i, "kube-proxy.yaml"))
	p.Version += fileVersion(r.folder.node(i, "kube-proxy.yaml"))
	return p
}

// fileVersion changes with a file's content.
func fileVersion(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return " " + hashText(data)
}

// upstreams are the machine's name servers that a network namespace can reach: not those on the loopback address.
func upstreams() []string {
	for _, file := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		data, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if out := parseNameservers(string(data)); len(out) > 0 {
			return out
		}
	}
	return nil
}

func parseNameservers(resolvConf string) []string {
	var out []string
	for line := range strings.Lines(resolvConf) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil && a.Is4() && !a.IsLoopback() && len(out) < 3 {
			out = append(out, a.String())
		}
	}
	return out
}
