package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd/api"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/hybridkubernetes"
	"fairlead.dev/fairlead/internal/cli/kubeconf"
	"fairlead.dev/fairlead/internal/cli/kubeproxy"
	"fairlead.dev/fairlead/internal/client"
)

// defaultProxyPort is the reference's.
const defaultProxyPort = 47011

// accessFlags are common to proxy and get-credentials.
type accessFlags struct {
	target
	name, file, context string
}

func (a *app) addAccess(c *cobra.Command, f *accessFlags) {
	a.addGroup(c, &f.target)
	a.addName(c, &f.name, "cluster", &f.target, clustersPath, apiKubernetes)
	f.bindFile(c)
}

func (f *accessFlags) bindFile(c *cobra.Command) {
	c.Flags().StringVarP(&f.file, "file", "f", "", "kubeconfig `file` to add the cluster to, - for standard output (default: KUBECONFIG, then ~/.kube/config)")
	c.Flags().StringVar(&f.context, "kube-context", "", "`name` of the context that is made (default: the cluster's)")
}

func (a *app) connectedk8sProxy() *cobra.Command {
	var f accessFlags
	var port int
	c := a.leaf(&cobra.Command{
		Use: "proxy", Short: "Reach a connected cluster with kubectl, through its own outbound connection",
		Long: `Adds a context for the cluster to the kubeconfig, serves the cluster's Kubernetes API on this machine, and takes the
context out again when interrupted. The cluster sees the logged-in principal by its object id; what it may do is for the roles on
the connected cluster and the cluster's own RBAC to say. 'connectedk8s get-credentials' does it without a process that keeps running.`,
		Example: `  fairlead connectedk8s proxy -n C -g G
  fairlead connectedk8s proxy -n C -g G --port 8899 --file ./kubeconfig`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runProxy(cmd.Context(), f, port) },
	})
	a.addAccess(c, &f)
	c.Flags().IntVar(&port, "port", 0, fmt.Sprintf("`port` of the loopback interface (default: %d, or a free one)", defaultProxyPort))
	return c
}

func (a *app) runProxy(ctx context.Context, f accessFlags, port int) error {
	if port < 0 || port > 65535 {
		return usagef("argument --port: %d: want 1 to 65535", port)
	}
	s, entry, err := a.access(ctx, &f)
	if err != nil {
		return err
	}
	server, err := s.localProxy(entry)
	if err != nil {
		return err
	}
	l, err := listenLoopback(port)
	if err != nil {
		return err
	}
	defer l.Close()
	at, err := url.Parse(entry.Cluster.Server)
	if err != nil {
		return fmt.Errorf("reading the cluster's address: %w", err)
	}
	entry.Cluster = &api.Cluster{Server: "https://" + l.Addr().String() + at.EscapedPath(), CertificateAuthorityData: server.CAPEM}
	entry.Auth = &api.AuthInfo{Token: server.Password}
	undo, err := a.deliver(entry, f.file)
	if err != nil {
		return err
	}
	a.note("Proxy is listening on %s. Interrupt (Ctrl-C) ends it.", l.Addr())
	return errors.Join(server.Serve(ctx, l), undo())
}

// localProxy is a proxy to a cluster with the session's login.
func (s *session) localProxy(e kubeconf.Entry) (*kubeproxy.Server, error) {
	at, err := url.Parse(e.Cluster.Server)
	if err != nil {
		return nil, fmt.Errorf("reading the cluster's address: %w", err)
	}
	return kubeproxy.New(kubeproxy.Config{Endpoint: s.Endpoint(), CAPEM: e.Cluster.CertificateAuthorityData, Path: at.Path,
		Token: func(ctx context.Context) (string, error) { return s.token(ctx, false) }})
}

func listenLoopback(port int) (net.Listener, error) {
	wanted := port
	if wanted == 0 {
		wanted = defaultProxyPort
	}
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(wanted)))
	if err != nil && port == 0 {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, hint(fmt.Errorf("listening: %w", err), "Choose another port with --port.")
	}
	return l, nil
}

// access asks the control plane for the cluster's kubeconfig, as this session reaches it.
func (a *app) access(ctx context.Context, f *accessFlags) (*session, kubeconf.Entry, error) {
	s, id, err := a.clusterTarget(&f.target, f.name)
	if err != nil {
		return nil, kubeconf.Entry{}, err
	}
	entry, err := a.reach(ctx, s, id, f.context)
	return s, entry, err
}

// reach is how a cluster is used through the control plane, as this session reaches it; kubeContext names its context, if given.
func (a *app) reach(ctx context.Context, s *session, id arm.ID, kubeContext string) (kubeconf.Entry, error) {
	entry, err := s.credential(ctx, id, hybridkubernetes.ListClusterUserCredential,
		hybridkubernetes.ListClusterUserCredentialProperties{AuthenticationMethod: hybridkubernetes.AuthenticationAAD, ClientProxy: true})
	if err != nil {
		return entry, err
	}
	if kubeContext != "" {
		entry.Context = kubeContext
	}
	a.warnOffline(ctx, s, id)
	return entry, s.localize(&entry)
}

// credential asks for a kubeconfig by one of a cluster's actions.
func (s *session) credential(ctx context.Context, id arm.ID, action string, body any) (kubeconf.Entry, error) {
	res, err := s.Do(ctx, client.Request{Method: http.MethodPost, Path: id.String() + "/" + action, Query: url.Values{"api-version": {apiKubernetes}}, Body: body})
	if err != nil {
		return kubeconf.Entry{}, err
	}
	var answer hybridkubernetes.CredentialResults
	if err := res.Decode(&answer); err != nil {
		return kubeconf.Entry{}, err
	}
	if len(answer.Kubeconfigs) == 0 {
		return kubeconf.Entry{}, errors.New("the control plane answered without a kubeconfig")
	}
	return kubeconf.Parse(answer.Kubeconfigs[0].Value)
}

// localize makes an entry use the control plane at the address and with the CA that this session uses.
func (s *session) localize(e *kubeconf.Entry) error {
	at, err := url.Parse(e.Cluster.Server)
	if err != nil {
		return fmt.Errorf("reading the cluster's address: %w", err)
	}
	e.Cluster.Server = s.Endpoint() + at.EscapedPath()
	if s.profile.CAFile == "" {
		return nil
	}
	if e.Cluster.CertificateAuthorityData, err = os.ReadFile(s.profile.CAFile); err != nil {
		return fmt.Errorf("reading the control plane's CA: %w", err)
	}
	return nil
}

func (a *app) warnOffline(ctx context.Context, s *session, id arm.ID) {
	got, err := s.get(ctx, id.String(), apiKubernetes)
	if err != nil {
		return // the right to use a cluster need not be the right to see it
	}
	if state := text(got, "properties", "connectivityStatus"); state != hybridkubernetes.Connected {
		a.warn("the cluster is %s; kubectl will not reach it until it is Connected", state)
	}
}

// deliver puts the entry into the file, or prints it; undo takes it out again.
func (a *app) deliver(e kubeconf.Entry, file string) (undo func() error, err error) {
	if file == "-" {
		text, err := e.Text()
		if err == nil {
			_, err = a.deps.Stdout.Write(text)
		}
		return func() error { return nil }, err
	}
	f := kubeconf.File(file)
	undo, err = f.Merge(e)
	if err != nil {
		return nil, err
	}
	a.note("Merged %q as the current context into %s", e.Context, f.Path())
	return undo, nil
}
