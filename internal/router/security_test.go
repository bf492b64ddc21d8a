package router

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/router/routertest"
)

// raw writes bytes to the router and returns the statuses of all answers until it closes the connection.
func raw(t *testing.T, r *running, text string) []int {
	t.Helper()
	conn := r.dial(t)
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	var statuses []int
	for reader := bufio.NewReader(conn); ; {
		res, err := http.ReadResponse(reader, nil)
		if err != nil {
			return statuses
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		statuses = append(statuses, res.StatusCode)
	}
}

// Whatever two readers could take for different requests is refused, or reaches the model as one.
func TestSmuggling(t *testing.T) {
	seen := make(chan string, 100)
	model := serveModel(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			seen <- r.Method + " " + r.RequestURI + " " + string(body)
		}
	})
	r := start(t, routertest.One("one", nil, model.addr), nil)
	const end = "Connection: close\r\n"
	head := func(headers, body string) string {
		return "POST " + score + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + routertest.Key("one") + "\r\n" + headers + "\r\n" + body
	}
	hidden := "GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"
	for name, request := range map[string]string{
		"length twice":                head("Content-Length: 5\r\nContent-Length: 0\r\n"+end, "hello"),
		"length with a sign":          head("Content-Length: +5\r\n"+end, "hello"),
		"length in a list":            head("Content-Length: 5, 6\r\n"+end, "hello"),
		"negative length":             head("Content-Length: -1\r\n"+end, ""),
		"space before colon":          head("Content-Length : 5\r\n"+end, "hello"),
		"two encodings":               head("Transfer-Encoding: chunked, identity\r\n"+end, "0\r\n\r\n"+hidden),
		"unknown encoding":            head("Transfer-Encoding: xchunked\r\n"+end, "0\r\n\r\n"+hidden),
		"encoding twice":              head("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"+end, "0\r\n\r\n"+hidden),
		"chunk size is no number":     head("Transfer-Encoding: chunked\r\n"+end, "5x\r\nhello\r\n0\r\n\r\n"),
		"chunk is longer than it is":  head("Transfer-Encoding: chunked\r\n"+end, "3\r\nhello\r\n0\r\n\r\n"),
		"negative chunk":              head("Transfer-Encoding: chunked\r\n"+end, "-1\r\nhello\r\n0\r\n\r\n"),
		"line with a bare return":     head("X: a\rContent-Length: 5\r\n"+end, "hello"),
		"folded header":               "POST " + score + " HTTP/1.1\r\nHost: x\r\n Folded: 1\r\n" + end + "\r\n",
		"null in a header":            head("X: a\x00b\r\n"+end, ""),
		"two hosts":                   head("Host: y\r\n"+end, ""),
		"header without a name":       head(": x\r\n"+end, ""),
		"space in the path":           "POST " + score + " x HTTP/1.1\r\nHost: x\r\n" + end + "\r\n",
		"no host":                     "POST " + score + " HTTP/1.1\r\n" + end + "\r\n",
		"method with a line break":    "PO\nST " + score + " HTTP/1.1\r\nHost: x\r\n" + end + "\r\n",
		"version of its own":          "POST " + score + " HTTP/1.1x\r\nHost: x\r\n" + end + "\r\n",
		"h2 upgrade with a body left": head("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: -5\r\n"+end, hidden),
	} {
		t.Run(name, func(t *testing.T) {
			for _, status := range raw(t, r, request) {
				if status < 400 {
					t.Errorf("status %d", status)
				}
			}
			select {
			case got := <-seen:
				t.Errorf("the model got %q", got)
			default:
			}
		})
	}
	// By RFC 9112, chunked overrides a length, and the connection ends after it; the model must get what the router counted.
	raw(t, r, head("Content-Length: 50\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nHost: x\r\n"+end+"\r\n"))
	for len(seen) > 0 {
		if got := <-seen; got != "POST /score hello" {
			t.Errorf("of both length and chunks the model got %q", got)
		}
	}
}

func TestPipelining(t *testing.T) {
	model := serveModel(t, echo)
	r := start(t, routertest.One("one", nil, model.addr), nil)
	one := "POST " + score + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + routertest.Key("one") + "\r\nContent-Length: 1\r\n"
	if got := fmt.Sprint(raw(t, r, one+"\r\na"+one+"\r\nb"+one+"Connection: close\r\n\r\nc")); got != "[200 200 200]" {
		t.Errorf("statuses %s", got)
	}
}

func TestHugeHeaders(t *testing.T) {
	model := serveModel(t, echo)
	r := start(t, routertest.One("one", nil, model.addr), nil)
	for name, header := range map[string]string{"one": "X: " + strings.Repeat("x", 200<<10) + "\r\n", "many": strings.Repeat("X: y\r\n", 40<<10)} {
		if got := raw(t, r, "POST "+score+" HTTP/1.1\r\nHost: x\r\n"+header+"\r\n"); len(got) > 1 || len(got) == 1 && got[0] != 431 {
			t.Errorf("%s: statuses %v", name, got)
		}
	}
	if model.n.Load() != 0 {
		t.Error("the model was asked")
	}
	ask(t, r, "POST", score, "x").want(t, 200, "x")
}

// A model must not be able to end the header of its answer early, nor a caller that of its request.
func TestHeaderInjection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = http.ReadRequest(bufio.NewReader(conn))
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: stolen=1\r\nContent-Length: 0\r\n\r\n")
			conn.Close()
		}
	}()
	r := start(t, routertest.One("one", nil, listener.Addr().String()), nil)
	if a := ask(t, r, "POST", score, ""); a.header.Get("Set-Cookie") != "" {
		t.Errorf("headers %v", a.header)
	}
	a := ask(t, r, "POST", "/api/v1/endpoint/x%0d%0aSet-Cookie:%20a=b/score", "", "x-ms-client-request-id", "a")
	a.want(t, 404, "EndpointNotFound")
	if a.header.Get("Set-Cookie") != "" {
		t.Errorf("headers %v", a.header)
	}
}

// Callers without a key hold connections, never a place at a pod; those with one are served beside them.
func TestIdleConnections(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	idle := min(10000, int(limit.Cur)-2000) // Other tests have left some.
	if idle < 1000 {
		t.Fatalf("%d files may be open, which are %d connections: too few to show anything; raise the hard limit (ulimit -Hn 12000)", limit.Cur, idle)
	}
	model := serveModel(t, echo)
	r := start(t, routertest.One("one", nil, model.addr), nil)
	// They are another process: both ends may be more files than one may have.
	callers := exec.Command(os.Args[0], r.HTTP, itoa(idle))
	callers.Env, callers.Stderr = append(os.Environ(), roleEnv+"="+asCallers), t.Output()
	stay, err := callers.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stay.Close(); _ = callers.Wait() })
	said, err := callers.StdoutPipe()
	if err == nil {
		err = callers.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(said).ReadString('\n'); line != "connected\n" {
		t.Fatalf("%d callers could not be connected: %q", idle, line)
	}
	for range 20 {
		ask(t, r, "POST", score, "x").want(t, 200, "x")
	}
	if l := r.load(t); l.Busy+l.Queued != 0 {
		t.Errorf("load %+v", l)
	}
}

// runCallers connects many times and stays until its input ends.
func runCallers(addr, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	conns := make([]net.Conn, 0, n)
	for i := range n {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return fmt.Errorf("after %d connections: %w", i, err)
		}
		conns = append(conns, conn)
		if i%2 == 0 { // Half of them never finish their headers.
			_, _ = io.WriteString(conn, "POST "+score+" HTTP/1.1\r\nHost: x\r\nX: ")
		}
	}
	fmt.Println("connected")
	_, _ = os.Stdin.Read(make([]byte, 1))
	runtime.KeepAlive(conns)
	return nil
}

// One that sends its headers, or nothing at all, for longer than it may is shown out.
func TestSlowLoris(t *testing.T) {
	r := start(t, routertest.One("one", nil), func(c *Config) { c.HeaderTimeout = 50 * time.Millisecond })
	for _, beginning := range []string{"", "P", "POST " + score + " HTTP/1.1\r\nX: ", "PRI * HTTP/2.0\r\n"} {
		conn := r.dial(t)
		_, _ = io.WriteString(conn, beginning)
		_, _ = io.Copy(io.Discard, conn) // It ends when the router closes.
		conn.Close()
	}
}

// A head that is whole only with the bytes that make it too long for the router's own reader is net/http's, also with the largest body
// that is taken at once.
func TestHeadsThatEndLate(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		model := serveModel(t, echo)
		r := start(t, routertest.One("one", nil, model.addr), nil)
		conn := r.dial(t)
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		body := strings.Repeat("b", 64<<10)
		head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: close\r\nContent-Length: %d\r\nX: ", score, routertest.Key("one"), len(body))
		head += strings.Repeat("x", 17000-4-len(head)) + "\r\n\r\n"
		_, _ = io.WriteString(conn, head[:16000])
		<-time.After(100 * time.Millisecond) // It has read that by then.
		_, _ = io.WriteString(conn, head[16000:]+body)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(res.Body); err != nil || string(got) != "POST /score "+body {
			t.Errorf("%d, %d bytes, %v", res.StatusCode, len(got), err)
		}
	})
}
