package routerbench

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The models: a process of its own that answers at every address it is given, as cheaply as a program in Go can. What a path says is
// what the answer is like: /<bytes>/<milliseconds>.
func runModels(addrs []string) {
	done := make(chan error)
	for _, addr := range addrs {
		listener, err := net.Listen("tcp", addr)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					done <- err
					return
				}
				go answerAll(conn)
			}
		}()
	}
	<-done
}

var answers = map[int][]byte{}

func init() {
	for _, n := range []int{1 << 10, 20 << 10} {
		answers[n] = append(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", n), bytes.Repeat([]byte("x"), n)...)
	}
}

func answerAll(conn net.Conn) {
	defer conn.Close()
	clock := newClock()
	defer clock.Close()
	buf := make([]byte, 64<<10)
	have := 0
	for {
		head := bytes.Index(buf[:have], []byte("\r\n\r\n"))
		for head < 0 {
			n, err := conn.Read(buf[have:])
			if err != nil {
				return
			}
			have += n
			head = bytes.Index(buf[:have], []byte("\r\n\r\n"))
		}
		end := head + 4 + lengthIn(buf[:head+2])
		if have < end {
			if _, err := io.ReadFull(conn, buf[have:end]); err != nil {
				return
			}
			have = end
		}
		size, delay := wanted(buf[:head])
		if delay > 0 {
			clock.sleep(delay)
		}
		if _, err := conn.Write(answers[size]); err != nil {
			return
		}
		have = copy(buf, buf[end:have])
	}
}

// clock sleeps by the kernel's clock: Go's own timers are good to a millisecond, which is more than what is measured.
type clock struct{ *os.File }

func newClock() clock {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		panic(err)
	}
	return clock{os.NewFile(uintptr(fd), "clock")}
}

func (c clock) sleep(d time.Duration) {
	raw, err := c.SyscallConn()
	if err != nil {
		panic(err)
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}, nil)
	})
	var times [8]byte
	_, _ = c.Read(times[:])
}

func lengthIn(head []byte) int {
	const name = "\r\ncontent-length: "
	for i := 0; i+len(name) < len(head); i++ {
		if head[i] == '\r' && bytes.EqualFold(head[i:i+len(name)], []byte(name)) {
			text, _, _ := bytes.Cut(head[i+len(name):], []byte("\r"))
			n, _ := strconv.Atoi(string(text))
			return n
		}
	}
	return 0
}

func wanted(head []byte) (size int, delay time.Duration) {
	_, path, _ := bytes.Cut(head, []byte(" /"))
	first, rest, _ := bytes.Cut(path, []byte("/"))
	second, _, _ := bytes.Cut(rest, []byte(" "))
	size, _ = strconv.Atoi(string(first))
	ms, _ := strconv.Atoi(string(second))
	if answers[size] == nil {
		size = 1 << 10
	}
	return size, time.Duration(ms) * time.Millisecond
}

// path of the endpoint, and below it what the models are to do.
func path(size, delay int) string {
	return "/api/v1/endpoint/one/" + strings.Join([]string{strconv.Itoa(size), strconv.Itoa(delay)}, "/")
}
