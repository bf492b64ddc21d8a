//go:build cluster

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/local"
	"fairlead.dev/fairlead/internal/local/kernel"
	"fairlead.dev/fairlead/internal/local/supervisor"
)

// Nodes of TestFault_NodesLost: one that dies, and one that goes on while the cluster sees nothing of it.
const (
	unseen  = 1
	dying   = 2
	lossMax = 4 * time.Minute
)

// lostJob is a job that begins on a node which is lost.
type lostJob struct {
	name      string
	node      int
	restarts  string
	instances int
	// before and after are how often its command runs on the node that is lost and on the one that stays.
	before, after int
}

var lostJobs = []lostJob{
	{"lost-once", dying, "0", 1, 1, 0},
	{"lost-again", dying, "1", 1, 1, 1},
	{"cut-ends", unseen, "1", 1, 1, 1},
	{"cut-lives", unseen, "1", 1, 1, 1},
	{"lost-gang", dying, "1", 2, 1, 3}, // one of the two is on the node that stays, from the beginning
}

// TestFault_NodesLost kills a node for good, with all that runs on it, and cuts another off from Kubernetes, but not from the control
// plane: what runs there goes on and could do harm. A job that asks for a restart gets it on another node and ends once; one that does
// not fails and names the node; an attempt that the cluster has given up overwrites nothing.
func TestFault_NodesLost(t *testing.T) {
	threeNodes(t)
	g := newGate(t)
	for _, node := range []int{unseen, dying} {
		typeWithSlots(t, node)
	}
	offer(t, local.NodeName(unseen), unseen, 2)
	offer(t, local.NodeName(dying), dying, 3)
	single, gang := lostJobs[:len(lostJobs)-1], lostJobs[len(lostJobs)-1:]
	for _, jobs := range [][]lostJob{single, gang} { // the gang gets what the others leave of the node
		for _, j := range jobs {
			submit(t, j.name, fmt.Sprintf("%sresources: {instance_type: %s, instance_count: %d}\nproperties: {fairlead.maxRestarts: '%s'}\n%s",
				header, slots(j.node), j.instances, j.restarts, g.command(j.name)))
		}
		for _, j := range jobs {
			g.awaitRuns(j.name, local.NodeName(j.node), 1, startLimit)
		}
	}
	offer(t, node0, dying, 1)
	g.awaitRuns("lost-gang", node0, 1, startLimit)
	for _, j := range lostJobs {
		awaitStatus(t, j.name, "Running", startLimit)
	}

	heal := cutNode(t, unseen)
	killNode(t, dying)
	for _, j := range lostJobs {
		namesItsNode(t, j, await(t, j.name, lossMax, func(s jobState) bool { return s.Properties["fairlead.statusReason"] == "NodeLost" }))
	}
	offer(t, node0, unseen, 2)
	offer(t, node0, dying, 3)
	for _, j := range lostJobs {
		g.awaitRuns(j.name, node0, j.after, lossMax)
		g.open(j.name, node0)
	}
	for _, j := range lostJobs {
		if j.restarts == "0" {
			namesItsNode(t, j, awaitStatus(t, j.name, "Failed", lossMax))
			continue
		}
		awaitStatus(t, j.name, "Completed", lossMax)
	}

	g.open("cut-ends", local.NodeName(unseen))
	awaitNoCommands(t, unseen, 1) // that of cut-lives goes on
	heal()
	awaitNoCommands(t, unseen, 0)
	must(t, up...)
	awaitNoPods(t)
	for _, j := range lostJobs {
		checkLostJob(t, g, j)
	}
}

// threeNodes gives the cluster three nodes until the test ends; then those that were added, which stay, take no new pods.
func threeNodes(t *testing.T) {
	t.Helper()
	must(t, append(up, "--nodes", "3")...)
	added := []string{local.NodeName(unseen), local.NodeName(dying)}
	kubectl(t, append([]string{"uncordon"}, added...)...)
	t.Cleanup(func() {
		_, err := cli(up...)
		kubectl(t, append([]string{"cordon"}, added...)...) // also when they are not up: what comes after counts on it
		if err != nil {
			t.Fatal(err)
		}
	})
}

func namesItsNode(t *testing.T, j lostJob, s jobState) {
	t.Helper()
	if reason, message := s.Properties["fairlead.statusReason"], s.Properties["fairlead.statusMessage"]; reason != "NodeLost" ||
		!strings.Contains(message, "node "+local.NodeName(j.node)) || !strings.Contains(message, "is not ready since") {
		t.Errorf("%s is %s for reason %s: %s", j.name, s.Status, reason, message)
	}
}

// checkLostJob checks after everything how often a job's command ran, its logs and its outputs.
func checkLostJob(t *testing.T, g *gate, j lostJob) {
	t.Helper()
	if before, after := g.ran(j.name, local.NodeName(j.node)), g.ran(j.name, node0); before != j.before || after != j.after {
		t.Errorf("the command of %s ran %d times on the lost node and %d times on the other, want %d and %d", j.name, before, after, j.before, j.after)
	}
	dir := t.TempDir()
	must(t, ml("job", "download", "-n", j.name, "-p", dir)...)
	file := func(name string) string {
		b, _ := os.ReadFile(filepath.Join(dir, "artifacts", name))
		return string(b)
	}
	if log := file("user_logs/std_log.txt"); log == "" || !strings.HasPrefix(counted("n ", 20), log) {
		t.Errorf("the first log of %s:\n%s", j.name, log)
	}
	if j.restarts == "0" {
		return
	}
	if log := file("retry-001/user_logs/std_log.txt"); log != counted("n ", 20) {
		t.Errorf("the second log of %s:\n%s", j.name, log)
	}
	if out := file("outputs/node.txt"); out != node0+"\n" {
		t.Errorf("the output of %s is of %q, want that of the newest attempt, %s", j.name, out, node0)
	}
	if j.name == "cut-ends" {
		if log, system := file("user_logs/std_log.txt"), file("system_logs/fairlead_runtime.log"); log != counted("n ", 20) || !strings.Contains(system, "Superseded") {
			t.Errorf("the attempt that nobody saw left the log\n%s\nand the runtime's log\n%s", log, system)
		}
	}
}

// slots is the resource and instance type of jobs that begin on a node.
func slots(node int) string { return fmt.Sprintf("slots-%d", node) }

func typeWithSlots(t *testing.T, node int) {
	t.Helper()
	applyType(t, slots(node), "requests: {cpu: 10m, memory: 64Mi}", fmt.Sprintf("limits: {cpu: 1, memory: 512Mi, fairlead.test/%s: 1}", slots(node)))
}

// offer lets so many pods of an instance type onto a node.
func offer(t *testing.T, node string, of, n int) {
	t.Helper()
	kubectl(t, "patch", "node", node, "--subresource=status", "--type=merge", "-p",
		fmt.Sprintf(`{"status": {"capacity": {"fairlead.test/%[1]s": "%[2]d"}, "allocatable": {"fairlead.test/%[1]s": "%[2]d"}}}`, slots(of), n))
}

// cutNode drops all packets between a node and the one that Kubernetes' control plane is on, until heal is called or the test ends.
func cutNode(t *testing.T, node int) (heal func()) {
	t.Helper()
	config, err := local.LoadConfig(local.Folder(w.data))
	if err != nil {
		t.Fatal(err)
	}
	nft := func(stdin string, args ...string) error {
		cmd := exec.Command("ip", append([]string{"netns", "exec", kernel.ScopeOf(w.data).Netns(node), "nft"}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	heal = func() { _ = nft("", "delete", "table", "ip", "fairlead_e2e") }
	t.Cleanup(heal)
	if err := nft(fmt.Sprintf(`table ip fairlead_e2e {
  chain in { type filter hook input priority -10; ip saddr %[1]s drop; }
  chain out { type filter hook output priority -10; ip daddr %[1]s drop; }
}
`, config.Plan.Node(0)), "-f", "-"); err != nil {
		t.Fatal(err)
	}
	return heal
}

// killNode ends all processes of a node, which stays so until the next `up`: what would start them again is ended first.
func killNode(t *testing.T, node int) {
	t.Helper()
	state, err := supervisor.ReadState(local.Folder(w.data).RunDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(state.Supervisor.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the end of the node's processes", func(context.Context) error {
		pids := processesOf(t, node)
		for _, pid := range pids {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(pids) > 0 {
			return fmt.Errorf("there are %v", pids)
		}
		return nil
	})
}

// processesOf are a node's own processes, which are in its network, and those of its pods.
func processesOf(t *testing.T, node int) []int {
	t.Helper()
	scope := kernel.ScopeOf(w.data)
	pids, err := scope.Processes()
	if err != nil {
		t.Fatal(err)
	}
	network, err := os.Stat(scope.NetnsFile(node))
	if err != nil {
		t.Fatal(err)
	}
	var out []int
	for _, pid := range pids {
		cgroups, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		own, err := os.Stat(fmt.Sprintf("/proc/%d/ns/net", pid))
		if strings.Contains(string(cgroups), scope.NodeCgroup(node)+"/") || err == nil && os.SameFile(network, own) {
			out = append(out, pid)
		}
	}
	return out
}

// awaitNoCommands waits until no more than so many jobs' pods run on a node, whatever Kubernetes knows of it.
func awaitNoCommands(t *testing.T, node, most int) {
	t.Helper()
	eventually(t, 2*time.Minute, "the end of commands on node "+local.NodeName(node), func(context.Context) error {
		n := 0
		for _, pid := range processesOf(t, node) {
			if filepath.Base(commandLine(pid)[0]) == "fairlead-runtime" {
				n++
			}
		}
		if n > most {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
}

// awaitNoPods waits until the nodes that are back have told of the end of every pod that was left on them.
func awaitNoPods(t *testing.T) {
	t.Helper()
	for _, node := range []int{unseen, dying} {
		eventually(t, 2*time.Minute, "the end of pods on "+local.NodeName(node), func(context.Context) error {
			left := strings.TrimSpace(kubectl(t, "get", "pods", "-n", "default", "--field-selector", "spec.nodeName="+local.NodeName(node), "-o", "name"))
			if left != "" {
				return fmt.Errorf("there are %s", left)
			}
			return nil
		})
	}
}
