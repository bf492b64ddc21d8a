//go:build cluster

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkSubmitToRunning measures from the start of `fairlead ml job create` to the first thing the user's command does, with the
// image on the node, one job after the other. Each is followed by its peer, a plain Kubernetes Job of the same image and command on
// the same cluster, from the start of `kubectl create`. Host and pods share a clock. Run it by -benchtime 50x.
func BenchmarkSubmitToRunning(b *testing.B) {
	file := filepath.Join(b.TempDir(), "job.yml")
	if err := os.WriteFile(file, []byte(header+"command: date +%s.%N\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	var ours, plain []float64
	round := time.Now().UnixNano()
	for i := range b.N {
		name := fmt.Sprintf("bench-%d-%d", round, i)
		ours = append(ours, started(b, func() (string, error) {
			return cli(append(ml("job", "create", "-f", file, "--name", name), "--stream", "-o", "none")...)
		}))
		plain = append(plain, started(b, func() (string, error) { return plainJob(b, name) }))
	}
	report(b, "", ours)
	report(b, "plain-Job-", plain)
}

// started is how many seconds after its start a job ran its command; run returns the job's output.
func started(b *testing.B, run func() (string, error)) float64 {
	b.Helper()
	began := time.Now()
	out, err := run()
	if err != nil {
		b.Fatal(err)
	}
	at, ok := timestamp(out)
	if !ok {
		b.Fatalf("the job's log has no time:\n%s", out)
	}
	return at - float64(began.UnixNano())/1e9
}

// plainJob runs the same command as a Job of Kubernetes, without Fairlead, and returns what it printed.
func plainJob(b *testing.B, name string) (string, error) {
	file := filepath.Join(b.TempDir(), name+".yml")
	err := os.WriteFile(file, fmt.Appendf(nil, `apiVersion: batch/v1
kind: Job
metadata: {name: %s, namespace: default}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
      - {name: main, image: "fairlead/python-ml:bookworm", imagePullPolicy: IfNotPresent, command: [sh, -c, date +%%s.%%N]}
`, name), 0o600)
	if err != nil {
		return "", err
	}
	var out string
	for _, step := range [][]string{
		{"create", "-f", file},
		{"wait", "--for=condition=complete", "--timeout=2m", "job/" + name},
		{"logs", "job/" + name},
		{"delete", "--wait=false", "job/" + name},
	} {
		said, err := cli(append([]string{"kubectl", "-n", "default"}, step...)...)
		if err != nil {
			return "", err
		}
		if step[0] == "logs" {
			out = said
		}
	}
	return out, nil
}

// BenchmarkIdle reports what the control plane and Fairlead's own components in the cluster hold and use when nothing runs, over a
// minute: resident memory of the server; of the components the proportional set size, in which the program text that they share
// counts once, and processor time in millicores. First with what training needs, then with inference besides.
func BenchmarkIdle(b *testing.B) {
	b.Run("training", idle)
	if _, err := cli(extensionCommand("update", "--config", "enableInference=True", "allowInsecureConnections=True", "inferenceRouterServiceType=nodePort", "--yes")...); err != nil {
		b.Fatal(err)
	}
	b.Run("training+inference", idle)
}

// BenchmarkInstall reports how long `k8s-extension create` took when the suite began, with images on the node: it returns when all pods run.
func BenchmarkInstall(b *testing.B) {
	b.ReportMetric(installTook.Seconds(), "s")
	b.ReportMetric(0, "ns/op")
}

func idle(b *testing.B) {
	<-time.After(20 * time.Second) // what starting left behind is given back
	before, began := components(b), time.Now()
	for range b.N {
		<-time.After(time.Minute)
	}
	took := time.Since(began).Seconds()
	var memory, processor float64
	for pid, name := range components(b) {
		if _, ok := before[pid]; !ok {
			b.Fatalf("%s was started meanwhile", name.command)
		}
		pss, used := rollup(pid, "Pss:"), (name.seconds-before[pid].seconds)/took*1000
		memory, processor = memory+pss, processor+used
		b.ReportMetric(pss, name.command+"-PSS-MiB")
		b.ReportMetric(used, name.command+"-millicores")
	}
	var server float64
	for _, pid := range processes(b) {
		line, _ := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		if args := strings.Split(string(line), "\x00"); len(args) > 1 && filepath.Base(args[0]) == "fairlead" && args[1] == "server" && strings.Contains(string(line), w.data) {
			server += rollup(pid, "Rss:")
		}
	}
	if server == 0 || memory == 0 {
		b.Fatal("no server or no component is running")
	}
	b.ReportMetric(server, "server-RSS-MiB")
	b.ReportMetric(memory, "components-PSS-MiB")
	b.ReportMetric(processor, "components-millicores")
	b.ReportMetric(0, "ns/op")
}

// component is a process of one of Fairlead's own programs in the cluster, and the processor time that it has had.
type component struct {
	command string
	seconds float64
}

// components lists them by process id. Pods of jobs run fairlead-runtime, which is none of them.
func components(b *testing.B) map[string]component {
	out := map[string]component{}
	for _, pid := range processes(b) {
		line, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
		if err != nil {
			continue
		}
		args := strings.Split(string(line), "\x00")
		if !slices.Contains([]string{"/fairlead-agent", "/fairlead-router"}, args[0]) || !youngerThanSuite(pid) {
			continue
		}
		c := component{command: strings.TrimPrefix(args[0], "/fairlead-")}
		if len(args) > 1 && !strings.HasPrefix(args[1], "-") && args[1] != "" {
			c.command = args[1]
		}
		stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
		if err != nil {
			continue
		}
		// Of what follows the name, which may have spaces, the 12th and 13th are user and system time in hundredths of a second.
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, ticks := range f[11:13] {
			n, _ := strconv.ParseFloat(ticks, 64)
			c.seconds += n / 100
		}
		out[pid] = c
	}
	return out
}

// BenchmarkUp measures `fairlead up` of a second cluster, with nothing of it there, to Ready; `down` is not counted.
func BenchmarkUp(b *testing.B) {
	var took []float64
	for range b.N {
		dir, err := os.MkdirTemp("", "fairlead-bench-")
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		_, err = cli("up", "--internet=false", "--data-dir", dir)
		took = append(took, time.Since(began).Seconds())
		_, downErr := cli("down", "--data-dir", dir)
		if err != nil || downErr != nil {
			b.Fatal(err, downErr)
		}
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
		// The suite's own control plane is the current one again.
		if _, err := cli("up", "--internet=false"); err != nil {
			b.Fatal(err)
		}
	}
	report(b, "", took)
}

// report reports the median and the 99th percentile under names that begin with prefix.
func report(b *testing.B, prefix string, seconds []float64) {
	slices.Sort(seconds)
	at := func(q float64) float64 { return seconds[min(len(seconds)-1, int(q*float64(len(seconds))))] }
	b.ReportMetric(at(0.50), prefix+"p50-s")
	b.ReportMetric(at(0.99), prefix+"p99-s")
	b.ReportMetric(0, "ns/op")
}

// timestamp finds the line that is a time in seconds.
func timestamp(log string) (float64, bool) {
	for line := range strings.Lines(log) {
		if f, err := strconv.ParseFloat(strings.TrimSpace(line), 64); err == nil && f > 1e9 {
			return f, true
		}
	}
	return 0, false
}

func processes(b *testing.B) []string {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		b.Fatal(err)
	}
	var pids []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, e.Name())
		}
	}
	return pids
}

// youngerThanSuite tells this suite's components from those of another local cluster on the machine.
func youngerThanSuite(pid string) bool {
	mine, err1 := os.Stat("/proc/self")
	its, err2 := os.Stat(filepath.Join("/proc", pid))
	return err1 == nil && err2 == nil && its.ModTime().After(mine.ModTime())
}

// rollup reads one figure of a process, in MB.
func rollup(pid, field string) float64 {
	data, err := os.ReadFile(filepath.Join("/proc", pid, "smaps_rollup"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == field {
			kb, _ := strconv.ParseFloat(f[1], 64)
			return kb / 1024
		}
	}
	return 0
}
