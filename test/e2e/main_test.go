//go:build cluster

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Names of what the suite makes once.
const (
	group     = "e2e"
	cluster   = "local"
	extension = "arcml-extension"
	workspace = "e2ews"
	compute   = "k8s"
)

// world is where the suite's local cluster lives, and where Fairlead's binaries are: in bin of the repository, or where
// FAIRLEAD_E2E_BIN says.
type world struct {
	repo, bin, home, data string
}

var w world

// up starts the local cluster, or what is missing of it.
var up = []string{"up", "--internet=false"}

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "setting up the local cluster:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	repo, err := filepath.Abs("../..")
	if err != nil {
		return 1, err
	}
	home, err := os.MkdirTemp("", "fairlead-e2e-")
	if err != nil {
		return 1, err
	}
	w = world{repo: repo, bin: cmp.Or(os.Getenv("FAIRLEAD_E2E_BIN"), filepath.Join(repo, "bin")), home: home, data: filepath.Join(home, "data")}
	end := sync.OnceValue(func() error {
		if os.Getenv("FAIRLEAD_E2E_KEEP") != "" {
			return nil
		}
		_, err := cli("down")
		return errors.Join(err, os.RemoveAll(home))
	})
	defer func() { err = errors.Join(err, end()) }()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		if err := end(); err != nil {
			fmt.Fprintln(os.Stderr, "taking the local cluster down:", err)
		}
		os.Exit(130)
	}()
	if _, err := cli(up...); err != nil {
		return 1, err
	}
	if err := attach(cli, kubeconfig(), connected); err != nil {
		return 1, err
	}
	ctx, stop := context.WithCancel(context.Background())
	violations := make(chan []string)
	go func() { violations <- watchTerminal(ctx) }()
	code = m.Run()
	stop()
	for _, v := range <-violations {
		fmt.Fprintln(os.Stderr, "more than one terminal state:", v)
		code = 1
	}
	return code, nil
}

// way is how a control plane comes to a cluster: it is connected from its side, or taken by its kubeconfig.
type way struct{ noun, verb, clusterType string }

var (
	connected = way{"connectedk8s", "connect", "connectedClusters"}
	managed   = way{"aks", "create", "managedClusters"}
)

// installTook is how long the extension's last installation by attach took.
var installTook time.Duration

// attach brings a cluster and makes it a compute target of a workspace, by the given command line.
func attach(cli func(...string) (string, error), kubeconfig string, by way) error {
	for _, step := range [][]string{
		{"group", "create", "--name", group},
		{by.noun, by.verb, "--name", cluster, "-g", group, "--kube-config", kubeconfig},
		{"k8s-extension", "create", "--name", extension, "--extension-type", "Microsoft.AzureML.Kubernetes", "--config", "enableTraining=True", "nodeLostSeconds=10",
			"--cluster-type", by.clusterType, "--cluster-name", cluster, "-g", group, "--scope", "cluster"},
		{"ml", "workspace", "create", "--name", workspace, "-g", group},
		{"ml", "compute", "attach", "-g", group, "-w", workspace, "--name", compute, "--type", "kubernetes", "--namespace", "default",
			"--identity-type", "SystemAssigned", "--resource-id", "CLUSTER"},
	} {
		for i, arg := range step {
			if arg == "CLUSTER" {
				id, err := cli(by.noun, "show", "-n", cluster, "-g", group, "--query", "id", "-o", "tsv")
				if err != nil {
					return err
				}
				step[i] = strings.TrimSpace(id)
			}
		}
		began := time.Now()
		if _, err := cli(step...); err != nil {
			return err
		}
		if step[0] == "k8s-extension" {
			installTook = time.Since(began)
		}
	}
	return nil
}

// kubeconfig is the file `fairlead up` writes for a plain kubectl.
func kubeconfig() string { return filepath.Join(w.data, "kubeconfig") }

// cli runs one command line of Fairlead and returns what it printed to standard output.
func cli(args ...string) (string, error) {
	out, stderr, err := cliOutput(args...)
	if err != nil {
		return out, fmt.Errorf("fairlead %s: %w\n%s%s", strings.Join(args, " "), err, out, stderr)
	}
	return out, nil
}

func command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(w.bin, "fairlead"), args...)
	cmd.Env = append(os.Environ(), "FAIRLEAD_CONFIG_DIR="+filepath.Join(w.home, "config"), "FAIRLEAD_DATA_DIR="+w.data)
	cmd.Dir = w.home
	return cmd
}

func cliOutput(args ...string) (stdout, stderr string, err error) {
	cmd := command(args...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := cli(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// ml is a command of the suite's workspace.
func ml(args ...string) []string {
	return append(append([]string{"ml"}, args...), "-w", workspace, "-g", group)
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return must(t, append([]string{"kubectl"}, args...)...)
}

// job writes a job file and submits it; the file's folder is returned for its code.
func submit(t *testing.T, name, yaml string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "job.yml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, ml("job", "create", "-f", file, "--name", name, "-o", "json")...)
}

// jobState is what `ml job show` says of a job.
type jobState struct {
	Status     string            `json:"status"`
	Code       string            `json:"code"`
	Properties map[string]string `json:"properties"`
}

func show(t *testing.T, name string) jobState {
	t.Helper()
	var s jobState
	if err := json.Unmarshal([]byte(must(t, ml("job", "show", "-n", name, "-o", "json")...)), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// await polls until the job satisfies ok, at most for limit.
func await(t *testing.T, name string, limit time.Duration, ok func(jobState) bool) jobState {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		s := show(t, name)
		if ok(s) {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("job %s after %s: %+v", name, limit, s)
		}
		<-time.After(300 * time.Millisecond)
	}
}

func awaitStatus(t *testing.T, name, status string, limit time.Duration) jobState {
	t.Helper()
	return await(t, name, limit, func(s jobState) bool {
		if terminal(s.Status) && s.Status != status {
			t.Fatalf("job %s ended %s, want %s: %+v", name, s.Status, status, s.Properties)
		}
		return s.Status == status
	})
}

func terminal(status string) bool {
	return status == "Completed" || status == "Failed" || status == "Canceled"
}
