package logs

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/link"
)

// plane is a control plane that keeps lines as the real one does: what begins where its stream ends.
type plane struct {
	kept  map[string]link.LogCursor
	lines map[string][]string // by pod
	jobs  map[string]string   // by pod
	// fault, if not nil, is asked before and after chunks are taken.
	fault func(taken bool) error
	// refuse, if not "", makes a request with a line that contains it a bad one.
	refuse string
}

func newPlane() *plane {
	return &plane{kept: map[string]link.LogCursor{}, lines: map[string][]string{}, jobs: map[string]string{}}
}

func (p *plane) post(_ context.Context, chunks []link.LogChunk) ([]link.LogCursor, error) {
	for _, c := range chunks {
		for _, l := range c.Lines {
			if p.refuse != "" && strings.Contains(l.Text, p.refuse) {
				return nil, &link.StatusError{Status: 400, Message: "no"}
			}
		}
	}
	if p.fault != nil {
		if err := p.fault(false); err != nil {
			return nil, err
		}
	}
	var out []link.LogCursor
	for _, c := range chunks {
		key := c.Key()
		if c.From == p.kept[key] && c.To != c.From {
			p.kept[key] = c.To
			p.jobs[c.Pod] = c.Job
			for _, l := range c.Lines {
				p.lines[c.Pod] = append(p.lines[c.Pod], l.Text)
			}
		}
		out = append(out, p.kept[key])
	}
	if p.fault != nil {
		if err := p.fault(true); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// node is a node's folder of logs with a collector.
type node struct {
	t     *testing.T
	dir   string
	plane *plane
	pods  map[string]Pod
	c     *Collector
	clock time.Time
}

func newNode(t *testing.T) *node {
	n := &node{t: t, dir: t.TempDir(), plane: newPlane(), pods: map[string]Pod{"u1": {Job: "train", Workspace: "w", Workload: true}}, clock: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
	n.start(true)
	return n
}

// start begins with nothing in memory, as after a kill -9.
func (n *node) start(everything bool) {
	n.c = New(Config{Dir: n.dir, Node: "n1", Namespaces: []string{"azureml"}, Everything: everything, Every: time.Nanosecond, Post: n.plane.post,
		Pods: func(context.Context) (map[string]Pod, error) { return n.pods, nil }})
}

func (n *node) collect() {
	n.t.Helper()
	if err := n.c.collect(n.t.Context()); err != nil {
		n.t.Fatal(err)
	}
}

// settle looks often enough to pass from a rotated file to the next.
func (n *node) settle() {
	n.t.Helper()
	for range 8 {
		n.collect()
	}
}

func (n *node) path(pod, file string) string { return filepath.Join(n.dir, pod, "main", file) }

// write adds records "F text" or "P text" to a container's file.
func (n *node) write(pod, file string, records ...string) {
	n.t.Helper()
	if err := os.MkdirAll(filepath.Dir(n.path(pod, file)), 0o755); err != nil {
		n.t.Fatal(err)
	}
	f, err := os.OpenFile(n.path(pod, file), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer f.Close()
	for _, r := range records {
		n.clock = n.clock.Add(time.Millisecond)
		if _, err := fmt.Fprintf(f, "%s stdout %s\n", n.clock.Format(time.RFC3339Nano), r); err != nil {
			n.t.Fatal(err)
		}
	}
}

func (n *node) rename(pod, from, to string) {
	n.t.Helper()
	if err := os.Rename(n.path(pod, from), n.path(pod, to)); err != nil {
		n.t.Fatal(err)
	}
}

// compress does what the kubelet does with rotated files.
func (n *node) compress(pod, file string) {
	n.t.Helper()
	data, err := os.ReadFile(n.path(pod, file))
	if err != nil {
		n.t.Fatal(err)
	}
	out, err := os.Create(n.path(pod, file+".gz"))
	if err != nil {
		n.t.Fatal(err)
	}
	z := gzip.NewWriter(out)
	_, err = z.Write(data)
	if err := errors.Join(err, z.Close(), out.Close(), os.Remove(n.path(pod, file))); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) expect(pod string, want ...string) {
	n.t.Helper()
	if d := cmp.Diff(want, n.plane.lines[pod]); d != "" {
		n.t.Errorf("lines of %s (-want +got):\n%s", pod, d)
	}
}

const job = "ml_job_u1"

func TestLines(t *testing.T) {
	n := newNode(t)
	n.write(job, "0.log", "F one", "P tw", "P o t")
	n.collect()
	n.expect("job", "one") // the rest is under way
	n.write(job, "0.log", "F wo", "F", "F  three ")
	n.collect()
	n.collect()
	n.expect("job", "one", "two two", "", " three ")
	if n.plane.jobs["job"] != "train" {
		t.Errorf("the pod's job is %q", n.plane.jobs["job"])
	}
	n.write(job, "1.log", "F restarted")
	n.collect()
	n.expect("job", "one", "two two", "", " three ", "restarted")
}

func TestRotation(t *testing.T) {
	n := newNode(t)
	n.write(job, "0.log", "F 1", "F 2")
	n.collect()
	n.write(job, "0.log", "F 3")
	n.rename(job, "0.log", "0.log.20260304-050607")
	n.write(job, "0.log.20260304-050607", "F 4") // the runtime has not opened the new file yet
	n.settle()
	n.expect("job", "1", "2", "3", "4")
	n.write(job, "0.log.20260304-050607", "F 5")
	n.write(job, "0.log", "F 6")
	n.settle()
	n.expect("job", "1", "2", "3", "4", "5", "6")
}

// TestRotatedWhileAway: files that were rotated and compressed while the collector was not there come in their order.
func TestRotatedWhileAway(t *testing.T) {
	n := newNode(t)
	n.write(job, "0.log", "F 1", "F 2")
	n.collect()
	n.write(job, "0.log", "F 3")
	for i := range 3 {
		n.rename(job, "0.log", fmt.Sprintf("0.log.%d", i))
		n.write(job, "0.log", fmt.Sprint("F ", 4+i))
	}
	n.compress(job, "0.log.0")
	n.compress(job, "0.log.1")
	n.start(true)
	n.settle()
	n.expect("job", "1", "2", "3", "4", "5", "6")

	// What the kubelet deleted meanwhile is lost; the rest still comes.
	for i := range 3 {
		n.rename(job, "0.log", fmt.Sprintf("0.log.%d", 3+i))
		n.write(job, "0.log", fmt.Sprint("F ", 7+i))
	}
	for _, gone := range []string{"0.log.0.gz", "0.log.1.gz", "0.log.2", "0.log.3", "0.log.4"} {
		if err := os.Remove(n.path(job, gone)); err != nil {
			t.Fatal(err)
		}
	}
	n.start(true)
	n.settle()
	n.expect("job", "1", "2", "3", "4", "5", "6", "8", "9")
}

// TestFaults: whatever is lost on the way, and whenever the collector is killed, every line is kept once, in order.
func TestFaults(t *testing.T) {
	n := newNode(t)
	dice := rand.New(rand.NewPCG(1, 2))
	n.plane.fault = func(bool) error {
		if dice.IntN(3) == 0 {
			return errors.New("the link broke")
		}
		return nil
	}
	var want []string
	for i := range 400 {
		line := fmt.Sprintf("line %d %s", i, strings.Repeat("x", dice.IntN(3000)))
		want = append(want, line)
		n.write(job, "0.log", "P "+line[:4], "F "+line[4:])
		switch dice.IntN(8) {
		case 0:
			n.start(true)
		case 1:
			if _, err := os.Stat(n.path(job, "0.log")); err == nil {
				n.rename(job, "0.log", fmt.Sprintf("0.log.%03d", i))
				if dice.IntN(2) == 0 {
					n.compress(job, fmt.Sprintf("0.log.%03d", i))
				}
			}
		default:
			_ = n.c.collect(t.Context())
		}
	}
	n.write(job, "0.log", "F end")
	n.plane.fault = nil
	for range 200 {
		n.collect()
	}
	n.expect("job", append(want, "end")...)
}

func TestWhatIsCollected(t *testing.T) {
	n := newNode(t)
	lines := []string{`F {"level":"INFO","msg":"x"}`, `F {"level":"WARN","msg":"x"}`, "F I0304 fine", "F E0304 bad", "F panic: dead", "F fine"}
	for _, pod := range []string{job, "azureml_gateway_u2", "kube-system_dns_u3"} {
		n.write(pod, "0.log", lines...)
	}
	n.pods["u2"], n.pods["u3"] = Pod{}, Pod{}
	n.start(false)
	n.collect()
	n.expect("job")
	n.expect("gateway", `{"level":"WARN","msg":"x"}`, "E0304 bad", "panic: dead")
	n.start(true)
	n.collect()
	if got := len(n.plane.lines["job"]); got != len(lines) {
		t.Errorf("%d lines of the job", got)
	}
	n.expect("dns")
}

// TestDeletedPods: the end of a log is read from the files that are still there, or still open.
func TestDeletedPods(t *testing.T) {
	n := newNode(t)
	n.write(job, "0.log", "F 1")
	n.collect()
	n.write(job, "0.log", "F 2")
	delete(n.pods, "u1")
	n.write("ml_never-seen_u9", "0.log", "F x")
	n.start(true)
	n.collect()
	n.expect("job", "1", "2")
	n.expect("never-seen")
	n.write(job, "0.log", "F 3")
	if err := os.RemoveAll(filepath.Join(n.dir, job)); err != nil {
		t.Fatal(err)
	}
	n.collect()
	n.expect("job", "1", "2", "3")
	if len(n.c.streams) != 0 {
		t.Errorf("%d streams are remembered", len(n.c.streams))
	}
}

// TestRefusedLines: lines that the control plane will not have hold up nothing else.
func TestRefusedLines(t *testing.T) {
	n := newNode(t)
	n.plane.refuse = "poison"
	n.write(job, "0.log", "F poison")
	n.write("azureml_gateway_u2", "0.log", "F 1")
	n.collect()
	n.write(job, "0.log", "F 2")
	n.collect()
	n.expect("gateway", "1")
	n.expect("job", "2")
}

// TestMuch: much at once goes in requests of bounded size, and a line without end in pieces.
func TestMuch(t *testing.T) {
	n := newNode(t)
	long := strings.Repeat("y", link.MaxLogLine/2)
	n.write(job, "0.log", "P "+long, "P "+long, "P "+long, "F end")
	for range 40 {
		n.write("ml_job2_u1", "0.log", "F "+long)
	}
	largest := 0
	n.c.cfg.Post = func(ctx context.Context, chunks []link.LogChunk) ([]link.LogCursor, error) {
		size := 0
		for _, c := range chunks {
			for _, l := range c.Lines {
				size += len(l.Text)
			}
		}
		largest = max(largest, size)
		return n.plane.post(ctx, chunks)
	}
	n.collect()
	if got := strings.Join(n.plane.lines["job"], ""); got != strings.Repeat(long, 3)+"end" || len(n.plane.lines["job"]) > 4 {
		t.Errorf("%d bytes in %d lines", len(got), len(n.plane.lines["job"]))
	}
	if len(n.plane.lines["job2"]) != 40 || largest > budget {
		t.Errorf("%d lines; the largest request has %d bytes", len(n.plane.lines["job2"]), largest)
	}
}

func FuzzJoined(f *testing.F) {
	f.Add([]byte("2026-03-04T05:06:07.1Z stdout F one\n2026-03-04T05:06:07.2Z stderr P tw"), true)
	f.Add([]byte("no record\n\n2026-03-04T05:06:07Z stdout P:x \n"), false)
	f.Fuzz(func(t *testing.T, data []byte, final bool) {
		lines, used := joined(data, final, time.Unix(1, 0))
		if used < 0 || used > len(data) || final && used != len(data) {
			t.Fatalf("%d of %d bytes are used", used, len(data))
		}
		again, rest := joined(data[:used], false, time.Unix(1, 0))
		if !final && (rest != used || len(again) > len(lines)) {
			t.Fatalf("what was used gives %d of %d bytes", rest, used)
		}
	})
}
