package routerbench

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// latency of requests that were due at a constant rate, counted from when each was due: a stall is charged to all who waited behind it.
type latency struct{ p50, p99 time.Duration }

// connections is how many the generator sends its requests over.
const connections = 64

// atRate sends requests at a rate for a while and throws the first tenth of the measurements away.
func atRate(b *testing.B, addr string, secure bool, request []byte, rate int, lasting time.Duration) latency {
	b.Helper()
	due := make(chan time.Time, rate*int(lasting/time.Second+1))
	var mu sync.Mutex
	var all []time.Duration
	var group sync.WaitGroup
	for range connections {
		conn, err := dial(addr, secure)
		if err != nil {
			b.Fatal(err)
		}
		group.Go(func() {
			defer conn.Close()
			reader := bufio.NewReaderSize(conn, 32<<10)
			mine := make([]time.Duration, 0, cap(due)/connections*2)
			for at := range due {
				if err := exchange(conn, reader, request); err != nil {
					b.Error(err)
					return
				}
				mine = append(mine, time.Since(at))
			}
			mu.Lock()
			all = append(all, mine...)
			mu.Unlock()
		})
	}
	pace(due, rate, lasting)
	group.Wait()
	if b.Failed() || len(all) == 0 {
		b.FailNow()
	}
	all = all[len(all)/10:]
	slices.Sort(all)
	return latency{all[len(all)/2], all[len(all)*99/100]}
}

func dial(addr string, secure bool) (net.Conn, error) {
	if secure {
		return tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	}
	return net.Dial("tcp", addr)
}

func exchange(conn net.Conn, reader *bufio.Reader, request []byte) error {
	if _, err := conn.Write(request); err != nil {
		return fmt.Errorf("sending a request: %w", err)
	}
	res, err := http.ReadResponse(reader, nil)
	if err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s, error %v", res.Status, err)
	}
	return nil
}

// pace sleeps by the kernel's clock: Go's timers are good to a millisecond, which is more than what is measured.
func pace(due chan<- time.Time, rate int, lasting time.Duration) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const prSetTimerSlack = 29
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerSlack, 1, 0)
	begin := time.Now().Add(50 * time.Millisecond)
	for i := range rate * int(lasting/time.Millisecond) / 1000 {
		at := begin.Add(time.Duration(i) * time.Second / time.Duration(rate))
		if wait := time.Until(at); wait > 0 {
			t := syscall.NsecToTimespec(int64(wait))
			_ = syscall.Nanosleep(&t, nil)
		}
		due <- at
	}
	close(due)
}
