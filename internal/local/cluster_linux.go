package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"fairlead.dev/fairlead/internal/local/component"
	"fairlead.dev/fairlead/internal/local/hostpkg"
	"fairlead.dev/fairlead/internal/local/kernel"
	"fairlead.dev/fairlead/internal/local/kubeapi"
	"fairlead.dev/fairlead/internal/local/pki"
	"fairlead.dev/fairlead/internal/local/process"
	"fairlead.dev/fairlead/internal/local/render"
	"fairlead.dev/fairlead/internal/local/supervisor"
)

// Tiers of stopping: pods' keepers first, the store last.
const (
	tierNode = iota
	tierServer
	tierAPI
	tierStore
)

// steps is everything that `up` does, in the order of what needs what.
func (r *runner) steps() ([]supervisor.Step, error) {
	if r.config.External() {
		if r.config.Server == "" {
			return nil, nil
		}
		return []supervisor.Step{r.serverStep()}, nil
	}
	scope := kernel.ScopeOf(string(r.folder))
	if err := scope.MakeCgroups(r.config.Nodes); err != nil {
		return nil, err
	}
	if err := scope.JoinParts(); err != nil {
		return nil, err
	}
	if err := killStrays(scope, r.folder, r.log); err != nil {
		return nil, err
	}
	step := func(name, title string, run func(ctx context.Context) error, after ...string) supervisor.Step {
		return supervisor.Step{Name: name, Title: title, After: after, Run: run}
	}
	steps := []supervisor.Step{
		step("prepare", "certificates and network", r.prepare),
		step("etcd", "etcd", func(ctx context.Context) error { return r.super.Start(ctx, r.etcd()) }, "prepare"),
		step("apiserver", "Kubernetes API", func(ctx context.Context) error { return r.super.Start(ctx, r.apiserver()) }, "prepare"),
		step("controllers", "scheduler and controllers", r.startControllers, "apiserver"),
		step("ready", "Kubernetes' own roles", r.awaitAPI, "apiserver"),
		step("runtime", "container runtime", r.eachNode(r.startContainerd), "prepare"),
		step("system-images", "images of the cluster", r.eachNode(r.loadSystemImages), "runtime"),
		step("nodes", fmt.Sprintf("%d node%s", r.config.Nodes, plural(r.config.Nodes)), r.startNodes, "apiserver", "runtime"),
		step("dns", "cluster DNS", r.startDNS, "ready", "nodes", "system-images"),
		step("images", "images of Fairlead", r.loadImages, "system-images"),
	}
	if r.config.Server != "" {
		steps = append(steps, r.serverStep("prepare"))
	}
	// Nothing waits for these, so they come when everything else is done.
	late := step("upstream-images", "images of the extension", r.eachNode(r.loadUpstreamImages))
	late.Background = true
	for _, s := range steps {
		late.After = append(late.After, s.Name)
	}
	return append(steps, late), nil
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// killStrays ends components that run without a record: their supervisor was killed between starting and recording them.
func killStrays(scope kernel.Scope, f Folder, log *slog.Logger) error {
	pids, err := scope.Processes()
	if err != nil {
		return err
	}
	var known []int
	for _, id := range supervisor.Records(f.RunDir()) {
		known = append(known, id.PID)
	}
	ours := append([]string{"containerd"}, component.KubeNames...)
	for _, pid := range pids {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		name, _, _ := strings.Cut(string(cmdline), "\x00")
		if filepath.Dir(name) != f.Path("bin") || !slices.Contains(ours, filepath.Base(name)) || slices.Contains(known, pid) {
			continue
		}
		log.Warn("ending a process that nobody watches", "pid", pid, "program", name)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("ending process %d: %w", pid, err)
		}
	}
	return nil
}

// prepare makes everything that is not a process: certificates, links to programs, configuration, namespaces.
func (r *runner) prepare(ctx context.Context) error {
	if err := r.makeCertificates(); err != nil {
		return err
	}
	if err := r.reachAPI(); err != nil {
		return err
	}
	if err := kernel.RaiseLimits(); err != nil {
		r.log.Warn("limits of the machine stay as they are; many nodes may not find room", "error", err)
	}
	if err := r.linkPrograms(); err != nil {
		return err
	}
	network, err := r.network()
	if err != nil {
		return err
	}
	if err := network.Build(ctx); err != nil {
		return err
	}
	if err := kernel.PrivateDir(r.folder.Path("run", "ns")); err != nil {
		return err
	}
	for i := range r.config.Nodes {
		if err := r.prepareNode(i); err != nil {
			return fmt.Errorf("preparing node %d: %w", i, err)
		}
	}
	return nil
}

// reachAPI makes the client of the cluster's API, of which the certificates must be there.
func (r *runner) reachAPI() (err error) {
	r.api, err = kubeapi.New(r.config.API(), r.pki("ca.crt"), r.pki("admin.crt"), r.pki("admin.key"))
	return err
}

func (r *runner) network() (kernel.Network, error) {
	m, err := r.config.machine()
	return kernel.Network{
		Scope: kernel.ScopeOf(string(r.folder)), Plan: r.config.Plan, Nodes: r.config.Nodes, Internet: r.config.Internet, Forwards: m.Forwarded(),
	}, err
}

func (r *runner) pki(file string) string { return r.folder.Path("pki", file) }

// linkPrograms puts the programs into bin/ under the names they are called by.
func (r *runner) linkPrograms() error {
	set := component.Set{Dir: r.config.Components}
	links := map[string]string{}
	for _, n := range component.KubeNames {
		links[n] = set.Path("kube")
	}
	for _, n := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
		links[n] = set.Path(n)
	}
	if err := os.MkdirAll(r.folder.Path("bin"), 0o755); err != nil {
		return fmt.Errorf("making the folder of programs: %w", err)
	}
	for name, target := range links {
		link := r.folder.Path("bin", name)
		if now, err := os.Readlink(link); err == nil && now == target {
			continue
		}
		_ = os.Remove(link)
		if err := os.Symlink(target, link); err != nil {
			return fmt.Errorf("linking %s: %w", name, err)
		}
	}
	return nil
}

func (r *runner) makeCertificates() error {
	c := r.config
	f := pki.Folder{Dir: r.folder.Path("pki"), Now: time.Now}
	ca, err := f.Authority("ca", "fairlead-local")
	if err != nil {
		return err
	}
	etcd, err := f.Authority("etcd-ca", "fairlead-local-etcd")
	if err != nil {
		return err
	}
	front, err := f.Authority("front-proxy-ca", "fairlead-local-front-proxy")
	if err != nil {
		return err
	}
	loopback := net.IPv4(127, 0, 0, 1)
	names := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"}
	errs := []error{
		f.SigningKey("sa"),
		etcd.Issue(pki.Leaf{Name: "etcd", CommonName: "etcd", DNSNames: []string{"localhost"}, IPs: []net.IP{loopback}, Server: true, Client: true}),
		etcd.Issue(pki.Leaf{Name: "apiserver-etcd", CommonName: "kube-apiserver", Client: true}),
		front.Issue(pki.Leaf{Name: "front-proxy", CommonName: "front-proxy", Client: true}),
		ca.Issue(pki.Leaf{Name: "apiserver", CommonName: "kube-apiserver", DNSNames: names, Server: true,
			IPs: []net.IP{c.Plan.Node(0).AsSlice(), c.Plan.APIService().AsSlice(), loopback}}),
		ca.Issue(pki.Leaf{Name: "apiserver-kubelet", CommonName: "kube-apiserver", Groups: []string{"system:masters"}, Client: true}),
		ca.Issue(pki.Leaf{Name: "admin", CommonName: "fairlead-admin", Groups: []string{"system:masters"}, Client: true}),
		ca.Issue(pki.Leaf{Name: "controller-manager", CommonName: "system:kube-controller-manager", Client: true}),
		ca.Issue(pki.Leaf{Name: "scheduler", CommonName: "system:kube-scheduler", Client: true}),
		ca.Issue(pki.Leaf{Name: "kube-proxy", CommonName: "system:kube-proxy", Client: true}),
	}
	for i := range c.Nodes {
		name := NodeName(i)
		errs = append(errs,
			ca.Issue(pki.Leaf{Name: name, CommonName: "system:node:" + name, Groups: []string{"system:nodes"}, Client: true}),
			ca.Issue(pki.Leaf{Name: name + "-serving", CommonName: name, DNSNames: []string{name}, IPs: []net.IP{c.Plan.Node(i).AsSlice()}, Server: true}))
	}
	for name, file := range map[string]string{
		"admin": r.folder.Kubeconfig(), "controller-manager": r.pki("controller-manager.kubeconfig"), "scheduler": r.pki("scheduler.kubeconfig"),
	} {
		errs = append(errs, r.writeKubeconfig(name, file))
	}
	return errors.Join(errs...)
}

func (r *runner) writeKubeconfig(name, file string) error {
	k := render.Kubeconfig{Name: name, Server: r.config.API()}
	for field, path := range map[*[]byte]string{&k.CA: "ca.crt", &k.Cert: name + ".crt", &k.Key: name + ".key"} {
		data, err := os.ReadFile(r.pki(path))
		if err != nil {
			return fmt.Errorf("writing kubeconfig of %s: %w", name, err)
		}
		*field = data
	}
	text, err := k.Render()
	if err != nil {
		return err
	}
	return writeIfChanged(file, text, 0o600)
}

// writeIfChanged leaves a file that has the content already alone, so that nothing that reads it starts anew.
func writeIfChanged(file string, data []byte, mode os.FileMode) error {
	if old, err := os.ReadFile(file); err == nil && slices.Equal(old, data) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, data, mode)
}

// part makes a component of Kubernetes that runs in node i's namespaces.
func (r *runner) part(name string, node, tier int, args ...string) supervisor.Part {
	ns := kernel.Namespaces{Net: kernel.ScopeOf(string(r.folder)).NetnsFile(node), Mount: r.folder.mountns(node)}
	program, _, _ := strings.Cut(name, "@")
	p := supervisor.Part{
		Name: name, Node: NodeName(node), Tier: tier, Grace: 3 * time.Second, Version: r.config.Stamps[r.binary(program)],
		Spec: process.Spec{
			Argv: append([]string{r.folder.Path("bin", program)}, args...), Env: r.environment(), Dir: "/",
			Log: r.folder.Log(name), Within: ns.Do,
		},
	}
	return p
}

func (r *runner) binary(program string) string {
	set := component.Set{Dir: r.config.Components}
	if slices.Contains(component.KubeNames, program) {
		return set.Path("kube")
	}
	return set.Path(program)
}

// environment is what components get: no proxy, which would only see the cluster's own traffic.
func (r *runner) environment() []string {
	return []string{"PATH=" + r.folder.Path("bin") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
}

// proxies are the machine's proxy settings, which containerd needs to pull images, with the cluster left out of them.
func (r *runner) proxies() []string {
	var out []string
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		if v := os.Getenv(name); v != "" {
			out = append(out, name+"="+v)
		}
	}
	if len(out) == 0 {
		return nil
	}
	without := strings.Join([]string{os.Getenv("NO_PROXY"), "localhost", "127.0.0.1", r.config.Plan.Base.String(), ".svc", ".cluster.local"}, ",")
	return append(out, "NO_PROXY="+strings.TrimPrefix(without, ","))
}

func (r *runner) etcd() supervisor.Part {
	const client, peer = "https://127.0.0.1:2379", "https://127.0.0.1:2380"
	p := r.part("etcd", 0, tierStore,
		"--name=local", "--data-dir="+r.folder.Path("etcd"), "--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=local="+peer,
		"--cert-file="+r.pki("etcd.crt"), "--key-file="+r.pki("etcd.key"), "--client-cert-auth", "--trusted-ca-file="+r.pki("etcd-ca.crt"),
		"--peer-cert-file="+r.pki("etcd.crt"), "--peer-key-file="+r.pki("etcd.key"), "--peer-client-cert-auth",
		"--peer-trusted-ca-file="+r.pki("etcd-ca.crt"), "--logger=zap", "--log-level=warn")
	p.Grace = 5 * time.Second
	return p
}

func (r *runner) apiserver() supervisor.Part {
	c := r.config
	p := r.part("kube-apiserver", 0, tierAPI,
		"--etcd-servers=https://127.0.0.1:2379", "--etcd-cafile="+r.pki("etcd-ca.crt"),
		"--etcd-certfile="+r.pki("apiserver-etcd.crt"), "--etcd-keyfile="+r.pki("apiserver-etcd.key"),
		"--service-cluster-ip-range="+c.Plan.Services().String(), "--bind-address=0.0.0.0", "--secure-port=6443",
		"--advertise-address="+c.Plan.Node(0).String(), "--tls-cert-file="+r.pki("apiserver.crt"), "--tls-private-key-file="+r.pki("apiserver.key"),
		"--client-ca-file="+r.pki("ca.crt"), "--kubelet-certificate-authority="+r.pki("ca.crt"),
		"--kubelet-client-certificate="+r.pki("apiserver-kubelet.crt"), "--kubelet-client-key="+r.pki("apiserver-kubelet.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-key-file="+r.pki("sa.pub"), "--service-account-signing-key-file="+r.pki("sa.key"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--requestheader-client-ca-file="+r.pki("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+r.pki("front-proxy.crt"), "--proxy-client-key-file="+r.pki("front-proxy.key"),
		"--profiling=false", "--cert-dir="+r.folder.Path("run"))
	p.Ready = func(ctx context.Context) error { return r.api.Serving(ctx) }
	return p
}

// awaitAPI waits until the API has made what it needs itself (roles, priorities, namespaces). Kubelets and controllers
// start meanwhile; they do not need it to begin.
func (r *runner) awaitAPI(ctx context.Context) error { return poll(ctx, r.api.Ready) }

func (r *runner) startControllers(ctx context.Context) error {
	c := r.config
	manager := r.part("kube-controller-manager", 0, tierAPI,
		"--kubeconfig="+r.pki("controller-manager.kubeconfig"), "--authentication-kubeconfig="+r.pki("controller-manager.kubeconfig"),
		"--authorization-kubeconfig="+r.pki("controller-manager.kubeconfig"), "--service-account-private-key-file="+r.pki("sa.key"),
		"--root-ca-file="+r.pki("ca.crt"), "--cluster-signing-cert-file="+r.pki("ca.crt"), "--cluster-signing-key-file="+r.pki("ca.key"),
		"--requestheader-client-ca-file="+r.pki("front-proxy-ca.crt"), "--use-service-account-credentials=true", "--leader-elect=false",
		"--kube-api-qps=200", "--kube-api-burst=400", "--allocate-node-cidrs=false", "--cluster-cidr="+c.Plan.Pods().String(), "--service-cluster-ip-range="+c.Plan.Services().String(),
		"--bind-address=127.0.0.1", "--profiling=false", "--cert-dir="+r.folder.Path("run"))
	scheduler := r.part("kube-scheduler", 0, tierAPI,
		"--kubeconfig="+r.pki("scheduler.kubeconfig"), "--authentication-kubeconfig="+r.pki("scheduler.kubeconfig"),
		"--authorization-kubeconfig="+r.pki("scheduler.kubeconfig"), "--kube-api-qps=200", "--kube-api-burst=400", "--leader-elect=false", "--bind-address=127.0.0.1",
		"--profiling=false", "--cert-dir="+r.folder.Path("run"))
	return errors.Join(r.super.Start(ctx, manager), r.super.Start(ctx, scheduler))
}

// startDNS brings CoreDNS to the cluster and waits until it answers.
func (r *runner) startDNS(ctx context.Context) error {
	manifest, err := r.cluster().CoreDNS()
	if err != nil {
		return err
	}
	if err := r.api.Apply(ctx, manifest); err != nil {
		return err
	}
	return poll(ctx, func(ctx context.Context) error { return resolves(ctx, r.config.Plan.DNS()) })
}

// resolves asks the cluster's DNS for a name that it always has. That takes a route to the node, the Service rules and a
// running pod, so its answer says more than the API would.
func resolves(ctx context.Context, dns netip.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, netip.AddrPortFrom(dns, 53).String())
	}}
	if _, err := r.LookupHost(ctx, "kubernetes.default.svc.cluster.local."); err != nil {
		return fmt.Errorf("the cluster's DNS does not answer: %w", err)
	}
	return nil
}

func (r *runner) cluster() render.Cluster {
	c := render.Cluster{Plan: r.config.Plan, PKIDir: r.folder.Path("pki")}
	if r.config.Internet {
		c.Upstreams = upstreams()
	}
	return c
}

// patience is how long the parts of a cluster get to answer.
const patience = time.Minute

// poll asks until the answer is nil, or gives the last error when patience ends.
func poll(ctx context.Context, ask func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// cniDir is where the network plugins are.
func cniDir() string {
	for _, dir := range []string{hostpkg.CNIDir, "/opt/cni/bin", "/usr/libexec/cni"} {
		if _, err := os.Stat(filepath.Join(dir, "ptp")); err == nil {
			return dir
		}
	}
	return hostpkg.CNIDir
}
