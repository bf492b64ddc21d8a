//go:build cluster

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/local/kernel"
)

// parts are the programs that a job's way leads through, each with how its process is found: by the name of a part of the local
// cluster, or by the first words of the command line of a container.
var parts = []struct {
	name      string
	container []string
}{
	{"agent", []string{"fairlead-agent", "agent"}},
	{"gateway", []string{"fairlead-agent", "gateway"}},
	{"relayserver", []string{"fairlead-agent", "relayserver"}},
	{"cluster-status-reporter", []string{"fairlead-agent", "reporter"}},
	{"aml-operator", []string{"fairlead-agent", "aml-operator"}},
	{"frameworkcontroller", []string{"manager", "--config=/etc/jobset/controller_manager_config.yaml"}},
	{"kubelet@0", nil},
	{"containerd@0", nil},
	{"kube-controller-manager", nil},
	{"server", nil},
}

const (
	node0 = "fairlead-0"
	// Resources of an instance type of which many fit on a small machine.
	smallRequests = "requests: {cpu: 10m, memory: 64Mi}"
	smallLimits   = "limits: {cpu: 1, memory: 512Mi}"
)

// TestFault_EachPartKilled kills one part after the other, each while one job was just submitted, the command of another runs, and
// that of a third ends. Each job ends well and once, its command ran once, and its log is whole.
func TestFault_EachPartKilled(t *testing.T) {
	g := newGate(t)
	applyType(t, "small", smallRequests, smallLimits)
	job := func(name string) string {
		submit(t, name, header+"resources: {instance_type: small}\n"+g.command(name))
		return name
	}
	type trio struct{ submitted, running, ending string }
	jobs := make([]trio, len(parts))
	for i := range parts {
		jobs[i] = trio{fmt.Sprintf("submitted-%d", i), job(fmt.Sprintf("running-%d", i)), job(fmt.Sprintf("ending-%d", i))}
	}
	for i, part := range parts {
		t.Run(part.name, func(t *testing.T) {
			j := jobs[i]
			awaitRunning(t, g, j.running)
			awaitRunning(t, g, j.ending)
			job(j.submitted)
			g.open(j.ending, node0)
			killPart(t, part.name, part.container)
			g.awaitRuns(j.submitted, node0, 1, startLimit)
			for _, name := range []string{j.submitted, j.running} {
				g.open(name, node0)
			}
			for _, name := range []string{j.submitted, j.running, j.ending} {
				finished(t, name, 20)
				if n := g.ran(name, node0); n != 1 {
					t.Errorf("the command of %s ran %d times", name, n)
				}
			}
		})
	}
}

func awaitRunning(t *testing.T, g *gate, job string) {
	t.Helper()
	g.awaitRuns(job, node0, 1, startLimit)
	awaitStatus(t, job, "Running", startLimit)
}

// killPart ends a part as a crash would and waits until another process does its work.
func killPart(t *testing.T, name string, container []string) {
	t.Helper()
	find := func() (int, error) { return componentPID(t, name), nil }
	if container != nil {
		find = func() (int, error) { return processOf(container) }
	}
	old, err := find()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, name+" is started again", func(context.Context) error {
		pid, err := find()
		if err == nil && (pid == old || pid == 0) {
			err = fmt.Errorf("process %d", pid)
		}
		return err
	})
}

// processOf finds the one process of the suite's cluster whose command line begins with words, whatever the program's folder.
func processOf(words []string) (int, error) {
	pids, err := kernel.ScopeOf(w.data).Processes()
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		if argv := commandLine(pid); len(argv) >= len(words) && filepath.Base(argv[0]) == words[0] && slices.Equal(argv[1:len(words)], words[1:]) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no process %v", words)
}

func commandLine(pid int) []string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	var argv []string
	for arg := range bytes.SplitSeq(bytes.TrimSuffix(data, []byte{0}), []byte{0}) {
		argv = append(argv, string(arg))
	}
	return argv
}

// TestFault_ControlPlaneKilledWhileSubmitting kills the control plane at the first of many answers, so that the other submits are under
// way in all their stages. Whatever was acknowledged is there and runs once; nothing runs twice.
func TestFault_ControlPlaneKilledWhileSubmitting(t *testing.T) {
	const n = 16
	g := newGate(t)
	applyType(t, "small", smallRequests, smallLimits)
	var (
		submits      sync.WaitGroup
		acknowledged [n]error
		answered     atomic.Int32
		first        = make(chan struct{})
		once         sync.Once
	)
	server := componentPID(t, "server")
	name := func(i int) string { return fmt.Sprintf("burst-%d", i) }
	for i := range n {
		g.open(name(i), node0)
		file := filepath.Join(t.TempDir(), "job.yml")
		write(t, filepath.Dir(file), "job.yml", header+"resources: {instance_type: small}\n"+g.command(name(i)))
		submits.Go(func() {
			_, acknowledged[i] = cli(ml("job", "create", "-f", file, "--name", name(i), "-o", "none")...)
			answered.Add(1)
			once.Do(func() { close(first) })
		})
	}
	<-first
	if err := syscall.Kill(server, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	under := n - answered.Load()
	submits.Wait()
	awaitUp(t)
	var lost []error
	for i := range n {
		if acknowledged[i] != nil {
			lost = append(lost, acknowledged[i])
			if _, err := cli(ml("job", "show", "-n", name(i), "-o", "none")...); err != nil {
				continue // it never came to be, and must not run: see below
			}
		}
		finished(t, name(i), 20)
	}
	for i := range n {
		if runs := g.ran(name(i), node0); runs > 1 || acknowledged[i] == nil && runs != 1 {
			t.Errorf("%s ran %d times; its submit said: %v", name(i), runs, acknowledged[i])
		}
	}
	t.Logf("%d submits, %d without an answer when the control plane was killed, %d never acknowledged", n, under, len(lost))
	if len(lost) == n || under == 0 {
		t.Errorf("the fault did not come while submits were under way: %v", errors.Join(lost...))
	}
}
