package routerbench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	perSecond = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)
	total     = regexp.MustCompile(`(\d+) requests in`)
	wrong     = regexp.MustCompile(`(?m)^\s*(Non-2xx.*|Socket errors:.*)$`)
)

// closed is what wrk found: requests a second, and the processor time that the proxy took for each.
type closed struct{ perSecond, micros float64 }

// asFastAsItGoes has wrk keep a number of connections busy.
func asFastAsItGoes(b *testing.B, url, key string, size, conns int, lasting time.Duration, pid int) closed {
	b.Helper()
	script := filepath.Join(b.TempDir(), "post.lua")
	text := fmt.Sprintf("wrk.method = 'POST'\nwrk.body = string.rep('x', %d)\nwrk.headers['Authorization'] = 'Bearer %s'\nwrk.headers['Content-Type'] = 'application/json'\n", size, key)
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	before := processorTime(pid)
	out, err := exec.Command("taskset", "-c", "1", "wrk", "-t1", "-c"+strconv.Itoa(conns), "-d"+strconv.Itoa(int(lasting/time.Second)), "--timeout", "10s", "-s", script, url).CombinedOutput()
	ticks := processorTime(pid) - before
	rate := perSecond.FindSubmatch(out)
	if err != nil || rate == nil {
		b.Fatalf("wrk: %v\n%s", err, out)
	}
	if bad := wrong.Find(out); bad != nil {
		b.Errorf("%s: %s", url, strings.TrimSpace(string(bad)))
	}
	n, _ := strconv.ParseFloat(string(rate[1]), 64)
	all, _ := strconv.ParseFloat(string(total.FindSubmatch(out)[1]), 64)
	return closed{n, float64(ticks) * 10000 / all}
}
