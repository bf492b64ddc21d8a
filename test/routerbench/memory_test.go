package routerbench

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// memoryTable is what a connection costs that has had an answer and asks nothing more, in the proxy's own memory.
func memoryTable(b *testing.B, all []target, c config, connections int) {
	b.Helper()
	all = slices.DeleteFunc(slices.Clone(all), func(t target) bool { return !slices.Contains([]string{ourName, "nginx", "HAProxy"}, t.name) })
	heading(fmt.Sprintf("memory of a connection, %d idle", connections), names(all))
	for _, kind := range []string{"HTTP", "HTTPS"} {
		fmt.Printf("| %s |", kind)
		for _, t := range all {
			fmt.Printf(" %.1f KiB |", idleMemory(b, &t, kind, c.Key, connections)/1024)
		}
		fmt.Println()
	}
}

func idleMemory(b *testing.B, t *target, kind, key string, connections int) float64 {
	b.Helper()
	addr := t.config.HTTP
	if kind == "HTTPS" {
		addr = t.config.HTTPS
	}
	before := memory(b, t.pid)
	callers := exec.Command("taskset", "-c", "1", os.Args[0], "callers", addr, kind, key, strconv.Itoa(connections))
	callers.Stderr = os.Stderr
	stay, err := callers.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	said, err := callers.StdoutPipe()
	if err == nil {
		err = callers.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	line, _ := bufio.NewReader(said).ReadString('\n')
	if line != "connected\n" {
		b.Errorf("%s, %s: %d callers could not be connected: %s", t.name, kind, connections, line)
	}
	after := memory(b, t.pid)
	_ = stay.Close()
	_ = callers.Wait()
	return float64(after-before) / float64(connections)
}

// runCallers asks once over each of many connections, and stays until its input ends.
func runCallers(args []string) {
	addr, kind, key := args[0], args[1], args[2]
	n, _ := strconv.Atoi(args[3])
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: models\r\nAuthorization: Bearer %s\r\nContent-Length: 1\r\n\r\nx", path(1<<10, 0), key)
	polls := make([]unix.PollFd, 0, n)
	for i := range n {
		a, err := dial(addr, kind == "HTTPS")
		for done := false; err == nil && !done; {
			if a.have == 0 {
				err = a.ask(request)
			}
			if err == nil {
				err = a.wait()
			}
			if err == nil {
				done, err = a.hear()
			}
		}
		if err != nil {
			fmt.Printf("%d: %v\n", i, err)
			return
		}
		polls = append(polls, unix.PollFd{Fd: int32(a.fd), Events: unix.POLLRDHUP})
		a.buf = nil
	}
	if left, _ := unix.Poll(polls, 0); left > 0 {
		fmt.Printf("%d of them are not connected any more\n", left)
		return
	}
	fmt.Println("connected")
	_, _ = os.Stdin.Read(make([]byte, 1))
}

// memory is what a process and its children have of their own, in bytes.
func memory(b *testing.B, pid int) (sum int) {
	b.Helper()
	for _, pid := range append(children(pid), pid) {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
		if err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); strings.HasPrefix(line, "Private_") || strings.HasPrefix(line, "Swap:") {
				n, _ := strconv.Atoi(fields[1])
				sum += n << 10
			}
		}
	}
	return sum
}
