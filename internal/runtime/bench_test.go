package runtime

import (
	"testing"
	"time"
)

// firstWrite tells when something was first written.
type firstWrite struct{ at time.Time }

func (f *firstWrite) Write(p []byte) (int, error) {
	if f.at.IsZero() {
		f.at = time.Now()
	}
	return len(p), nil
}

// BenchmarkStart is what the runtime adds to a job: from its start to the command's first output, with a snapshot of
// twenty files, and from there to its end.
func BenchmarkStart(b *testing.B) {
	var start, total time.Duration
	n := 0
	for b.Loop() {
		p := newPod(b, "echo hi")
		for i := range 20 {
			p.blobs.Put("acct/cont/code/f"+string(rune('a'+i)), "print()\n")
		}
		p.blobs.PageSize = 1000
		p.spec.Code = p.blobs.Base + "/acct/cont/code"
		out := &firstWrite{}
		p.cfg.Stdout = out
		t0 := time.Now()
		p.run(b.Context())
		start += out.at.Sub(t0)
		total += time.Since(t0)
		n++
	}
	b.ReportMetric(float64(start.Microseconds())/float64(n)/1000, "ms-to-command")
	b.ReportMetric(float64(total.Microseconds())/float64(n)/1000, "ms-to-end")
}

// BenchmarkLog is how fast a command's output passes through the runtime into the run's artifacts.
func BenchmarkLog(b *testing.B) {
	const size = 64 << 20
	b.SetBytes(size)
	for b.Loop() {
		p := newPod(b, "head -c 67108864 /dev/zero")
		if r := p.run(b.Context()); r.ExitCode != 0 {
			b.Fatalf("result %+v", r)
		}
	}
}
