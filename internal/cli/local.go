package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/cli/output"
	"fairlead.dev/fairlead/internal/local"
)

// LocalCommands are the commands around the local cluster: up, down, status, logs, kubectl, images, and the hidden one by
// which up starts its supervisor. They need no login. When the control plane serves, up calls local.OnReady.
func LocalCommands() []*cobra.Command {
	return []*cobra.Command{localUp(), localDown(), localStatus(), localLogs(), localKubectl(), localImages(), localSupervisor()}
}

// dataDirFlag adds --data-dir and returns what reads it.
func dataDirFlag(c *cobra.Command) func() (local.Folder, error) {
	dir := c.Flags().String("data-dir", string(local.DefaultFolder()), "`folder` of the local cluster (or FAIRLEAD_DATA_DIR)")
	return func() (local.Folder, error) {
		abs, err := filepath.Abs(*dir)
		return local.Folder(abs), err
	}
}

func localUp() *cobra.Command {
	c := &cobra.Command{
		Use: "up", Short: "Start a control plane and a real Kubernetes cluster on this machine", Args: cobra.NoArgs,
		Long: `Starts etcd, kube-apiserver, scheduler, controller-manager, and for each node containerd, kubelet and kube-proxy, in
network namespaces of their own; CoreDNS as a pod; and Fairlead's control plane beside them. What runs already stays as
it is, what died comes back with its state. Needs root on Linux; with --kubeconfig a cluster you have is used instead.`,
		Example: `  sudo fairlead up
  sudo fairlead up --nodes 3
  fairlead up --kubeconfig ~/.kube/config`,
	}
	var u upFlags
	u.bind(c)
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		o, err := u.toOptions()
		if err != nil {
			return err
		}
		config, err := local.Up(cmd.Context(), o, u.timeout, cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		sayWhere(cmd.ErrOrStderr(), o.Folder, config)
		return nil
	}
	return c
}

// upFlags are the flags of up.
type upFlags struct {
	options    local.Options
	noServer   bool
	components string
	timeout    time.Duration
	folder     func() (local.Folder, error)
}

func (u *upFlags) bind(c *cobra.Command) {
	u.folder = dataDirFlag(c)
	f, o := c.Flags(), &u.options
	f.IntVar(&o.Nodes, "nodes", 0, "`number` of nodes (default 1, or as many as there are)")
	f.StringVar(&o.Kubeconfig, "kubeconfig", "", "use the existing cluster of this `file` and start only the control plane")
	f.StringVar(&o.PublicURL, "public-url", "", "`URL` at which the existing cluster reaches the control plane (with --kubeconfig)")
	f.StringVar(&o.CIDR, "cidr", "", "the `network` to use, an IPv4 /16 (default: the first free one)")
	f.BoolVar(&o.Internet, "internet", true, "let nodes and pods reach what this machine reaches")
	f.IntVar(&o.Port, "port", 0, fmt.Sprintf("the control plane's `port` (default: the first free one from %d on)", local.DefaultPort))
	f.StringSliceVar(&o.Images, "image", nil, "load this `image` too: python-torch, or the path of an image archive")
	f.BoolVar(&u.noServer, "no-server", false, "start only the cluster")
	f.StringVar(&u.components, "components", "", "`folder` of Kubernetes' programs (default: localcluster beside this program)")
	f.DurationVar(&u.timeout, "timeout", 3*time.Minute, "how long to wait until everything is ready")
}

// toOptions finds what is beside this program: Kubernetes' programs, the agent, and itself as the server.
func (u *upFlags) toOptions() (local.Options, error) {
	o := u.options
	exe, err := os.Executable()
	if err != nil {
		return o, fmt.Errorf("finding this program: %w", err)
	}
	if exe, err = filepath.EvalSymlinks(exe); err != nil {
		return o, fmt.Errorf("finding this program: %w", err)
	}
	if o.Folder, err = u.folder(); err != nil {
		return o, err
	}
	o.BinDir = filepath.Dir(exe)
	o.Components = []string{u.components}
	if u.components == "" {
		o.Components = []string{os.Getenv("FAIRLEAD_LOCALCLUSTER_DIR"), filepath.Join(o.BinDir, "localcluster"), "/usr/lib/fairlead/localcluster"}
	}
	if !u.noServer {
		o.Server = exe
	}
	return o, nil
}

func sayWhere(out io.Writer, f local.Folder, c local.Config) {
	if c.External() {
		fmt.Fprintf(out, "\nControl plane  %s\nCluster        %s\n", c.URL(), c.Kubeconfig)
		return
	}
	if c.Server != "" {
		fmt.Fprintf(out, "\nControl plane  %s\n", c.URL())
	}
	fmt.Fprintf(out, "Kubernetes     %s\nkubeconfig     %s\n", c.API(), f.Kubeconfig())
}

func localDown() *cobra.Command {
	c := &cobra.Command{
		Use: "down", Short: "Stop the local cluster and remove everything it made", Args: cobra.NoArgs,
		Long: `Stops all processes and removes namespaces, links, mounts, cgroups and the data folder. What took long to build stays
in the cache. With --keep-data the next up continues where this one ended.`,
		Example: "  sudo fairlead down\n  sudo fairlead down --keep-data",
	}
	folder := dataDirFlag(c)
	keep := c.Flags().Bool("keep-data", false, "keep the state of Kubernetes and of the control plane")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		f, err := folder()
		if err != nil {
			return err
		}
		return local.Down(cmd.Context(), f, *keep, cmd.ErrOrStderr())
	}
	return c
}

func localStatus() *cobra.Command {
	c := &cobra.Command{
		Use: "status", Short: "Show what of the local cluster runs", Args: cobra.NoArgs,
		Example: "  fairlead status\n  fairlead status -o json\n  fairlead status --query kubeconfig -o tsv",
	}
	folder := dataDirFlag(c)
	format := c.Flags().StringP("output", "o", "table", "output `format`: "+strings.Join(output.Formats, ", "))
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		f, err := folder()
		if err != nil {
			return err
		}
		options := output.Options{Format: *format, Query: inheritedQuery(cmd)}
		if err := options.Check(); err != nil {
			return err
		}
		s, err := local.ReadStatus(cmd.Context(), f)
		if err != nil {
			return err
		}
		if *format == "table" && options.Query == "" {
			return statusTable(cmd.OutOrStdout(), s, time.Now())
		}
		return output.Write(cmd.OutOrStdout(), s, options)
	}
	return c
}

// inheritedQuery is the value of the root command's --query, if it has one.
func inheritedQuery(cmd *cobra.Command) string {
	if f := cmd.Flag("query"); f != nil {
		return f.Value.String()
	}
	return ""
}

func statusTable(out io.Writer, s local.Status, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Ready\t%v\n", s.Ready)
	for _, line := range [][2]string{
		{"Data", s.Folder}, {"Supervisor", s.Supervisor}, {"Control plane", s.Endpoint}, {"Kubernetes", s.Kubernetes}, {"kubeconfig", s.Kubeconfig},
	} {
		if line[1] != "" {
			fmt.Fprintf(w, "%s\t%s\n", line[0], line[1])
		}
	}
	for _, n := range s.Nodes {
		state := "Ready"
		if !n.Ready {
			state = "not ready: " + n.Reason
		}
		fmt.Fprintf(w, "Node %s\t%s\n", n.Name, state)
	}
	for _, p := range s.Problems {
		fmt.Fprintf(w, "Problem\t%s\n", strings.ReplaceAll(p, "\n", " "))
	}
	fmt.Fprintf(w, "\nCOMPONENT\tSTATE\tPID\tRESTARTS\tAGE\tMEMORY\n")
	for _, c := range s.Components {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\t%d MB\n", c.Name, c.State, c.PID, c.Restarts, age(c.Since, now), c.Memory>>20)
	}
	return w.Flush()
}

func age(since string, now time.Time) string {
	t, err := time.Parse(time.RFC3339, since)
	if err != nil {
		return ""
	}
	return now.Sub(t).Round(time.Second).String()
}

func localLogs() *cobra.Command {
	c := &cobra.Command{
		Use: "logs [component]", Short: "Show the log of a component of the local cluster", Args: cobra.MaximumNArgs(1),
		Long:    "Shows the log of a component; without one, lists the components that have a log.",
		Example: "  fairlead logs\n  fairlead logs server -f\n  fairlead logs kubelet@0 --tail 200",
	}
	folder := dataDirFlag(c)
	follow := c.Flags().BoolP("follow", "f", false, "show what comes until interrupted")
	lines := c.Flags().Int("tail", 100, "`number` of lines to begin with")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		f, err := folder()
		if err != nil {
			return err
		}
		if len(args) == 1 {
			return local.Logs(cmd.Context(), f, args[0], *lines, *follow, cmd.OutOrStdout())
		}
		names, err := local.LogNames(f)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), strings.Join(names, "\n"))
		return err
	}
	c.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		f, err := folder()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		names, _ := local.LogNames(f)
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	return c
}

// localKubectl hands all its arguments on, but for a --data-dir before them.
func localKubectl() *cobra.Command {
	return &cobra.Command{
		Use: "kubectl [--data-dir folder] ...", Short: "Run kubectl on the local cluster", DisableFlagParsing: true,
		Example: "  fairlead kubectl get pods -A",
		RunE: func(_ *cobra.Command, args []string) error {
			f := local.DefaultFolder()
			if len(args) > 0 {
				if v, ok := strings.CutPrefix(args[0], "--data-dir="); ok {
					f, args = local.Folder(v), args[1:]
				} else if args[0] == "--data-dir" && len(args) > 1 {
					f, args = local.Folder(args[1]), args[2:]
				}
			}
			abs, err := filepath.Abs(string(f))
			if err != nil {
				return err
			}
			return local.Kubectl(local.Folder(abs), args)
		},
	}
}

func localImages() *cobra.Command {
	load := &cobra.Command{
		Use: "load [image...]", Short: "Bring images to the nodes of the local cluster",
		Long: `Brings images to every node: python-ml, python-torch (made of Debian packages if needed), or the path of an OCI or Docker
image archive. Without an argument brings Fairlead's own as they are built now. An image that is there costs nothing.`,
		Example: "  sudo fairlead images load python-torch\n  sudo fairlead images load ./my-image.tar",
	}
	folder := dataDirFlag(load)
	load.RunE = func(cmd *cobra.Command, args []string) error {
		f, err := folder()
		if err != nil {
			return err
		}
		return local.LoadImages(cmd.Context(), f, args, cmd.ErrOrStderr())
	}
	images := &cobra.Command{Use: "images", Short: "Images of the local cluster"}
	images.AddCommand(load)
	return images
}

func localSupervisor() *cobra.Command {
	return &cobra.Command{
		Use: local.SupervisorCommand + " folder", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			// Signals are the supervisor's own: it stops or hands over, and does not just end.
			return local.Supervise(context.Background(), local.Folder(args[0]))
		},
	}
}
