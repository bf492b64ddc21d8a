package bench

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// BenchmarkIdleMemory reports what a server with one cluster connected holds 20 s after its last request but the cluster's own: its
// first start, the administrator's login and everything that a job needs lie behind it. File is the program itself, of which the
// system keeps what was used; it can be dropped and read again. Anonymous is the server's own data.
func BenchmarkIdleMemory(b *testing.B) {
	var total, file, anonymous float64
	for range b.N {
		s := startServer(b, "sqlite")
		s.lab(b)
		<-time.After(20 * time.Second)
		rss, anon := s.memory(b, "Rss:"), s.memory(b, "Anonymous:")
		total, file, anonymous = total+rss, file+rss-anon, anonymous+anon
	}
	n := float64(b.N)
	b.ReportMetric(total/n, "RSS-MB")
	b.ReportMetric(file/n, "file-MB")
	b.ReportMetric(anonymous/n, "anonymous-MB")
	b.ReportMetric(0, "ns/op")
}

// memory reads one figure of the server's memory, in MB.
func (s *server) memory(b *testing.B, field string) float64 {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", s.PID))
	if err != nil {
		b.Skipf("the system does not tell a process's memory: %v", err)
	}
	for line := range strings.Lines(string(raw)) {
		var kb float64
		if rest, ok := strings.CutPrefix(line, field); ok {
			if _, err := fmt.Sscan(rest, &kb); err != nil {
				b.Fatalf("reading %q: %v", line, err)
			}
			return kb / 1024
		}
	}
	b.Fatalf("no %s in:\n%s", field, raw)
	return 0
}
