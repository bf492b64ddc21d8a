package runtime

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"unsafe"
)

// reaper waits for the orphans that the kernel gives to the first process of a container, so that a long job whose
// programs leave children behind does not fill the process table with zombies.
//
// It must not take a child that os/exec waits for. mu is held while a process is started and while one is reaped, so a child
// is in own before anybody can see it dead.
type reaper struct {
	mu  sync.Mutex
	own map[int]bool
}

// start runs fn, which starts a process and returns its pid.
func (r *reaper) start(fn func() (pid int, err error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := fn()
	if err == nil {
		if r.own == nil {
			r.own = map[int]bool{}
		}
		r.own[pid] = true
	}
	return err
}

// run reaps until stop is called. Processes other than the first of a container have no orphans.
func (r *reaper) run() (stop func()) {
	if os.Getpid() != 1 {
		return func() {}
	}
	return r.watch()
}

func (r *reaper) watch() (stop func()) {
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGCHLD)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range sig {
			r.reap()
		}
	}()
	return func() {
		signal.Stop(sig)
		close(sig)
		<-done
	}
}

// reap waits for every dead child up to the first that is not an orphan: it is left to its own waiter.
func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		pid := deadChild()
		if pid <= 0 || r.own[pid] {
			return
		}
		if _, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); err != nil {
			return
		}
	}
}

// deadChild looks at some dead child without waiting for it; 0 means none.
func deadChild() int {
	const (
		pAll     = 0
		pidField = 8 + unsafe.Sizeof(uintptr(0)) // in siginfo_t: after signo, errno and code, aligned as a pointer
	)
	var info [128]byte
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, pAll, 0, uintptr(unsafe.Pointer(&info)),
			syscall.WEXITED|syscall.WNOHANG|syscall.WNOWAIT, 0, 0)
		if errno == syscall.EINTR {
			continue
		}
		if errno != 0 {
			return 0
		}
		return int(*(*int32)(unsafe.Pointer(&info[pidField])))
	}
}
