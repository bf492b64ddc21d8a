package cli_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"fairlead.dev/fairlead/internal/cli"
	"fairlead.dev/fairlead/internal/controlplane"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/testing/certtest"
	"fairlead.dev/fairlead/internal/testing/freeport"
	"fairlead.dev/fairlead/internal/testing/s3test"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"fairlead": run, "az": run})
}

// run is the program, with an installer of agents that only says what it was asked for.
func run() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	deps := cli.SystemDeps()
	deps.Version = "1.2.3"
	deps.InspectCluster = func(context.Context, string, string) (cli.ClusterFacts, error) {
		return cli.ClusterFacts{Version: "1.36.3", Distribution: "k3s", Infrastructure: "generic", Nodes: 2, Agent: os.Getenv("AGENT_OF")}, nil
	}
	deps.InstallAgent = func(ctx context.Context, in cli.AgentInstall) error {
		in.Progress("agent for " + in.ClusterName + " proxy " + in.HTTPSProxy)
		in.Progress = nil
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(os.Getenv("HOME"), "agent.json"), data, 0o600); err != nil {
			return err
		}
		s, err := newSim(in)
		if err != nil {
			return err
		}
		return s.hello(ctx)
	}
	deps.UninstallAgent = func(_ context.Context, in cli.AgentUninstall) error {
		in.Progress("agent removed")
		return nil
	}
	deps.Extra = []*cobra.Command{controlplane.Command(nil)}
	deps.OpenBrowser = func(page string) error {
		p, err := newPerson(os.Getenv("CA"))
		if err == nil {
			go func() { _ = p.Open(page) }() // whoever waits for the answer does so in vain then
		}
		return err
	}
	code := cli.Main(ctx, deps, os.Args[1:])
	stop()
	os.Exit(code)
}

// exits runs a program and checks its exit code: exits 2 fairlead …
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code program [args…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		got = failed.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// cluster starts a pretended cluster that works for the agent that "connectedk8s connect" installed: cluster [name]
func cluster(ts *testscript.TestScript, _ bool, args []string) {
	s, err := loadSim(ts.MkAbs("agent.json"))
	ts.Check(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.run(ctx); err != nil && ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "cluster: %v\n", err)
		}
	}()
	stop := func() { cancel(); <-done }
	ts.Defer(stop)
	if len(args) == 1 {
		running.Store(ts.MkAbs(args[0]), stop)
	}
}

// running are the named clusters of all scripts.
var running sync.Map

// offline ends a pretended cluster: offline name
func offline(ts *testscript.TestScript, _ bool, args []string) {
	stop, ok := running.LoadAndDelete(ts.MkAbs(args[0]))
	if !ok {
		ts.Fatalf("no cluster %s runs", args[0])
	}
	stop.(func())()
}

// certificate makes cert.pem and key.pem for a DNS name, valid now: certificate ml.example.com
func certificate(ts *testscript.TestScript, _ bool, args []string) {
	cert, key, err := certtest.Pair(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), args...)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("cert.pem"), cert, 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("key.pem"), key, 0o600))
}

// waitFor waits until a file holds a text: waitfor file text.
func waitFor(ts *testscript.TestScript, _ bool, args []string) {
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(ts.ReadFile(args[0]), args[1]); <-time.After(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not hold %q", args[0], args[1])
		}
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "cluster": cluster, "certificate": certificate},
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			return nil
		},
	})
}

// TestControlPlane runs the scripts in testdata/server against a real control plane on SQLite, each with its own.
func TestControlPlane(t *testing.T) {
	lake := s3test.Start(t)
	lake.Bucket(t, "lake")
	lake.Put(t, "lake", "team/set/deep/a.csv", "1,2,3\n")
	testscript.Run(t, testscript.Params{
		Dir: "testdata/server", Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "cluster": cluster, "certificate": certificate, "waitfor": waitFor, "offline": offline, "approve": approve},
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("S3", lake.Endpoint)
			admin, stop, err := startServer(filepath.Join(e.WorkDir, "data"))
			if err != nil {
				return err
			}
			e.Defer(stop)
			for k, v := range map[string]string{
				"ENDPOINT": admin.Endpoint, "CLIENT": admin.ClientID, "SECRET": admin.ClientSecret, "TENANT": admin.TenantID, "CA": admin.CAFile, "SUB": admin.SubscriptionID,
			} {
				e.Setenv(k, v)
			}
			return nil
		},
	})
}

// pretended are clusters that are not there: the one of a kubeconfig with token GOOD works for its agent.
type pretended struct{ ctx context.Context }

func (p pretended) Inspect(_ context.Context, kubeconfig []byte) (types.ManagedFacts, error) {
	if !strings.Contains(string(kubeconfig), "token: GOOD") {
		return types.ManagedFacts{}, apierrors.NewUnauthorized("no such token")
	}
	return types.ManagedFacts{KubernetesVersion: "1.36.3", UID: "u"}, nil
}

func (p pretended) Install(_ context.Context, _ []byte, a types.ManagedAgent) error {
	s, err := newSim(cli.AgentInstall{Endpoint: a.Endpoint, CAPEM: a.CA, ClusterID: a.ClusterID, TenantID: a.TenantID, PrivateKeyPEM: a.PrivateKeyPEM})
	if err == nil {
		go func() { _ = s.run(p.ctx) }()
	}
	return err
}

func (pretended) Explain(context.Context, []byte) error           { return nil }
func (pretended) Uninstall(context.Context, []byte, string) error { return nil }

// startServer runs a control plane on a free port of the loopback interface.
func startServer(dir string) (admin controlplane.Admin, stop func(), err error) {
	port, err := freeport.Find()
	if err != nil {
		return admin, nil, err
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- controlplane.Run(ctx, controlplane.Config{DataDir: dir, Listen: []string{addr}, LogLevel: "error", Installer: pretended{ctx}})
	}()
	stop = func() { cancel(); <-done }
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			cancel()
			return admin, nil, fmt.Errorf("control plane: %w", err)
		case <-tick.C:
		}
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			break
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, controlplane.AdminFile))
	if err != nil {
		stop()
		return admin, nil, err
	}
	return admin, stop, json.Unmarshal(data, &admin)
}
