package bench

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/testing/load"
	"fairlead.dev/fairlead/internal/testing/serverproc"
)

// binaryEnv names another program to measure than bin/fairlead.
const binaryEnv = "FAIRLEAD_BENCH_BIN"

// server is a control plane in a process of its own.
type server struct {
	*serverproc.Server
	// group is where things are made.
	group string
}

// startServer starts a control plane whose administrator's client has a connection for every sender.
func startServer(b *testing.B, store string, args ...string) *server {
	b.Helper()
	s := serverproc.Start(b, serverproc.Config{Program: program(), Args: append([]string{"--store", store}, args...), Conns: load.Senders})
	return &server{s, "/subscriptions/" + s.SubscriptionID + "/resourceGroups/bench"}
}

// program is what is measured.
func program() string {
	return cmp.Or(os.Getenv(binaryEnv), filepath.Join("..", "..", "bin", "fairlead"))
}

// cpu is the processor time that processes have used.
func cpu(b *testing.B, pids ...int) time.Duration {
	b.Helper()
	var sum time.Duration
	for _, pid := range pids {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0 // not Linux
		}
		_, after, _ := strings.Cut(string(raw), ") ") // the name may hold blanks
		var user, system time.Duration
		if f := strings.Fields(after); len(f) > 12 {
			_, err = fmt.Sscan(f[11]+" "+f[12], &user, &system)
		}
		if err != nil {
			b.Fatalf("reading processor time from %q: %v", raw, err)
		}
		sum += (user + system) * (time.Second / 100) // the kernel counts in hundredths of a second
	}
	return sum
}
