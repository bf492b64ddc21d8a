// Package cli is the fairlead command line, shaped like the reference's: with alias az=fairlead its command lines run as
// printed. Every command is one file, <noun>_<verb>.go; what it prints goes through package output, what it asks of the
// control plane through package client.
package cli

import (
	"context"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// AgentInstall is what an installer of the agent needs to know.
type AgentInstall struct {
	// Kubeconfig and Context choose the cluster; empty means kubectl's defaults.
	Kubeconfig, Context string
	// Endpoint is the control plane's address as the cluster reaches it; CAPEM verifies it (may be empty).
	Endpoint string
	CAPEM    []byte
	// ClusterID is the connected cluster's resource id; the other names are its parts.
	ClusterID, TenantID, SubscriptionID, ResourceGroup, ClusterName, Location string
	// PrivateKeyPEM is the agent's key (PKCS #1 PEM); its public half is registered already.
	PrivateKeyPEM []byte
	// Distribution and Infrastructure are what was detected ("generic" when nothing was).
	Distribution, Infrastructure string
	// Proxy settings of the cluster; ProxyCAPEM verifies a proxy that opens TLS.
	HTTPSProxy, HTTPProxy, NoProxy string
	ProxyCAPEM                     []byte
	// Images, empty for those that the cluster has, and the Secret by which they are pulled.
	AgentImage, RouterImage, RuntimeImage, PullSecret string
	// Update keeps images and the Secret that are not given as the agent that is there has them; KeepProxy also its proxy.
	Update, KeepProxy bool
	// Timeout bounds the wait for the agent's pods.
	Timeout time.Duration
	// Progress receives one line per step.
	Progress func(string) `json:"-"`
}

// AgentUninstall is what removing the agent needs to know.
type AgentUninstall struct {
	Kubeconfig, Context string
	// ClusterID is the connected cluster's resource id; the agent of another one stays.
	ClusterID string
	Timeout   time.Duration
	Progress  func(string)
}

// Deps are the parts of the world that commands use. Zero fields get the real thing.
type Deps struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Env looks up an environment variable.
	Env func(string) string
	Now func() time.Time
	// Sleep waits between polls; nil means real time.
	Sleep func(ctx context.Context, d time.Duration) error
	// StdoutTTY and StderrTTY say whether a person watches.
	StdoutTTY, StderrTTY bool
	// InstallAgent and UninstallAgent put the agent in a cluster with Helm and take it out; nil in builds without Helm.
	InstallAgent   func(context.Context, AgentInstall) error
	UninstallAgent func(context.Context, AgentUninstall) error
	// InspectCluster reads a cluster's version and kind; nil means with client-go.
	InspectCluster func(ctx context.Context, kubeconfig, context string) (ClusterFacts, error)
	// OpenBrowser opens a page in the person's browser.
	OpenBrowser func(url string) error
	// Extra commands are added to the root (server, and those of the local cluster).
	Extra []*cobra.Command
	// Version is the program's version.
	Version string
}

// SystemDeps are the Deps of a process: its streams, environment and terminal.
func SystemDeps() Deps {
	return Deps{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Getenv,
		StdoutTTY: term.IsTerminal(int(os.Stdout.Fd())), StderrTTY: term.IsTerminal(int(os.Stderr.Fd())),
	}
}

func (d *Deps) fill() {
	sys := SystemDeps()
	if d.Stdin == nil {
		d.Stdin = sys.Stdin
	}
	if d.Stdout == nil {
		d.Stdout, d.StdoutTTY = sys.Stdout, sys.StdoutTTY
	}
	if d.Stderr == nil {
		d.Stderr, d.StderrTTY = sys.Stderr, sys.StderrTTY
	}
	if _, file := d.Stderr.(*os.File); !file { // progress is written from several goroutines
		d.Stderr = &lockedWriter{w: d.Stderr}
	}
	if d.Env == nil {
		d.Env = sys.Env
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Sleep == nil {
		d.Sleep = sleep
	}
	if d.InspectCluster == nil {
		d.InspectCluster = inspectCluster
	}
	if d.OpenBrowser == nil {
		d.OpenBrowser = openBrowser
	}
	if d.Version == "" {
		d.Version = buildVersion()
	}
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// New builds the command tree.
func New(deps Deps) *cobra.Command {
	deps.fill()
	a := &app{deps: deps}
	root := a.root()
	for _, c := range deps.Extra {
		root.AddCommand(c)
	}
	return root
}

// Main runs one command line (without the program's name) and returns the process's exit code: 0 done, 1 failed, 2 wrong
// usage, 3 not found, 130 interrupted.
func Main(ctx context.Context, deps Deps, args []string) int {
	deps.fill()
	root := New(deps)
	root.SetIn(deps.Stdin)
	root.SetOut(deps.Stdout)
	root.SetErr(deps.Stderr)
	expanded, notes := ExpandArgs(root, args)
	for _, n := range notes {
		warn(deps, "%s", n)
	}
	root.SetArgs(expanded)
	cmd, err := root.ExecuteContextC(ctx)
	return report(ctx, deps, cmd, err)
}
