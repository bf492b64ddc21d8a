package runtime

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReap runs in a process of its own that is given orphans, as the first process of a container is.
func TestReap(t *testing.T) {
	if os.Getenv("REAP_TEST") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestReap$", "-test.v")
		cmd.Env = append(os.Environ(), "REAP_TEST=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	const prSetChildSubreaper = 36
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		t.Skip(errno)
	}
	defer orphans.watch()()
	out := &buffer{}
	sh, err := shell(`sh -c 'sleep 0.05 & echo $!'; sleep 1; exit 4`, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	said := out.has("\n")
	go func() {
		<-said
		pid, _ := strconv.Atoi(strings.TrimSpace(out.String()))
		for range time.Tick(time.Millisecond) {
			if syscall.Kill(pid, 0) != nil { // a zombie can still be signalled; a reaped one is gone
				break
			}
		}
		_, _ = out.Write([]byte("gone"))
	}()
	e := runner{killAfter: time.Second, drainAfter: time.Second}.run(t.Context(), []process{{argv: sh, env: os.Environ(), dir: t.TempDir(), out: out}}, func() {})
	if e.code != 4 || e.err != nil {
		t.Errorf("exit %+v: the reaper took the command's own status", e)
	}
	select {
	case <-out.has("gone"):
	case <-time.After(5 * time.Second):
		t.Error("the orphan is still a zombie")
	}
}
