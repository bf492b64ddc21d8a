package router

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/api/routerload"
	"fairlead.dev/fairlead/internal/router/routertest"
)

// netHTTP has tests start routers that leave everything to net/http.
var netHTTP bool

// onBoth runs a test on the router's own reader and on net/http.
func onBoth(t *testing.T, test func(t *testing.T)) {
	t.Run("own reader", test)
	netHTTP = true
	defer func() { netHTTP = false }()
	t.Run("net/http", test)
}

// What holds for the router's own reader holds for net/http, which has the rest of the connections.
func TestByNetHTTP(t *testing.T) {
	netHTTP = true
	defer func() { netHTTP = false }()
	for name, test := range map[string]func(*testing.T){
		"smuggling": TestSmuggling, "pipelining": TestPipelining, "huge headers": TestHugeHeaders, "header injection": TestHeaderInjection, "slow loris": TestSlowLoris,
		"refused": TestPodsThatRefuseAreGoneAround, "sent once": TestWhatWasSentIsNotSentAgain, "failing pods": TestPodsThatFailAreLeftAlone,
		"log": TestAccessLogAndMetrics, "trailers": TestTrailers, "concurrency": TestConcurrencyAndLoad,
	} {
		t.Run(name, test)
	}
}

// told is what a model was told.
type told struct {
	Method, URI, Host, Body string
	Header                  http.Header
}

// Whichever way a request takes, the model is told the same, and so is the caller.
func TestBothTellTheSame(t *testing.T) {
	model := serveModel(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Header.Del("X-Request-Id")
		w.Header().Set("X-Custom", "answer")
		w.Header().Set("Access-Control-Allow-Origin", "the model's")
		w.Header().Set("Content-Type", "application/json")
		status := 200
		_, _ = fmt.Sscanf(r.Header.Get("X-Status"), "%d", &status)
		w.WriteHeader(status)
		if status != 204 && status != 304 {
			_ = json.NewEncoder(w).Encode(told{r.Method, r.RequestURI, r.Host, string(body), r.Header})
		}
	})
	routers := map[bool]*running{}
	for _, plain := range []bool{false, true} {
		routers[plain] = start(t, routertest.One("one", nil, model.addr), func(c *Config) { c.NetHTTP, c.Origins, c.MaxBody = plain, []string{"https://page"}, 1<<20 })
	}
	auth := "Authorization: Bearer " + routertest.Key("one") + "\r\n"
	for name, request := range map[string]string{
		"score":            "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 5\r\n\r\nhello",
		"query":            "POST " + score + "?a=b&c;d=%20 HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 5\r\n\r\nhello",
		"get":              "GET /api/v1/endpoint/one/swagger.json HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n",
		"head":             "HEAD /api/v1/endpoint/one/swagger.json HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n",
		"other path":       "PUT /api/v1/endpoint/ONE//a/../b;c HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 1\r\n\r\nx",
		"no body":          "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n",
		"delete":           "DELETE /api/v1/endpoint/one/x HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n",
		"next hop's":       "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "Keep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
		"next hop's, list": "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "X-Secret: 1\r\nConnection: X-Secret\r\nContent-Length: 1\r\n\r\nx",
		"forged":           "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1\r\nX-Forwarded-Proto: https\r\nx-request-id: mine\r\nAzureml-Model-Endpoint: two\r\nContent-Length: 1\r\n\r\nx",
		"ids":              "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "x-ms-client-request-id: mine!\r\nCookie: a=b\r\ncookie: c=d\r\nContent-Length: 1\r\n\r\nx",
		"deployment":       "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "azureml-model-deployment: Blue\r\nContent-Length: 1\r\n\r\nx",
		"no deployment":    "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "azureml-model-deployment: no\r\nContent-Length: 1\r\n\r\nx",
		"no key":           "POST " + score + " HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
		"head, no key":     "HEAD " + score + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"no endpoint":      "POST /api/v1/endpoint/two/score HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 1\r\n\r\nx",
		"nowhere":          "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"origin":           "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "Origin: https://page\r\nContent-Length: 1\r\n\r\nx",
		"other origin":     "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "Origin: https://other\r\nContent-Length: 1\r\n\r\nx",
		"preflight":        "OPTIONS " + score + " HTTP/1.1\r\nHost: x\r\nOrigin: https://page\r\nAccess-Control-Request-Method: POST\r\n\r\n",
		"model error":      "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "X-Status: 500\r\nContent-Length: 1\r\n\r\nx",
		"other error":      "POST /api/v1/endpoint/one/x HTTP/1.1\r\nHost: x\r\n" + auth + "X-Status: 500\r\nContent-Length: 1\r\n\r\nx",
		"no content":       "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "X-Status: 204\r\nContent-Length: 1\r\n\r\nx",
		"not modified":     "GET /api/v1/endpoint/one/x HTTP/1.1\r\nHost: x\r\n" + auth + "X-Status: 304\r\n\r\n",
		"escaped":          "GET /api/v1/endpoint/one/a%20b%2Fc HTTP/1.1\r\nHost: x\r\n" + auth + "\r\n",
		"chunks":           "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"old":              "POST " + score + " HTTP/1.0\r\nHost: x\r\n" + auth + "Content-Length: 1\r\n\r\nx",
		"expects":          "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
		"20 KB":            "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 20480\r\n\r\n" + strings.Repeat("x", 20480),
		"200 KB":           "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 204800\r\n\r\n" + strings.Repeat("x", 204800),
		"too large":        "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "Content-Length: 1048577\r\n\r\nx",
		"long head":        "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "X: " + strings.Repeat("y", 10000) + "\r\nContent-Length: 1\r\n\r\nx",
		"longer head":      "POST " + score + " HTTP/1.1\r\nHost: x\r\n" + auth + "X: " + strings.Repeat("y", 40000) + "\r\nContent-Length: 1\r\n\r\nx",
	} {
		t.Run(name, func(t *testing.T) {
			own, plain := tell(t, routers[false], request), tell(t, routers[true], request)
			if own != plain {
				t.Errorf("the own reader:\n%s\nnet/http:\n%s", own, plain)
			}
		})
	}
}

// tell sends a request and gives what was answered, without what differs from one time to the next.
func tell(t *testing.T, r *running, request string) string {
	t.Helper()
	conn := r.dial(t)
	defer conn.Close()
	_, _ = io.WriteString(conn, request)
	method, _, _ := strings.Cut(request, " ")
	reader := bufio.NewReader(conn)
	res, err := http.ReadResponse(reader, &http.Request{Method: method})
	for err == nil && res.StatusCode == http.StatusContinue {
		res, err = http.ReadResponse(reader, &http.Request{Method: method})
	}
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	id := res.Header.Get("X-Request-Id")
	if id == "" || res.Header.Get("Date") == "" {
		t.Errorf("header %v", res.Header)
	}
	for _, name := range []string{"X-Request-Id", "Date"} {
		res.Header.Del(name)
	}
	var seen told
	if json.Unmarshal(body, &seen) == nil && seen.Method != "" {
		text, _ := json.MarshalIndent(seen, "", " ")
		body = text
	}
	var header bytes.Buffer
	_ = res.Header.Write(&header)
	text := fmt.Sprintf("%s close %v\n%s\n%s %v", res.Status, res.Close, &header, body, err)
	return strings.ReplaceAll(strings.ReplaceAll(text, id, "ID"), conn.LocalAddr().String(), "CALLER")
}

// answering is a pod that answers every request with the same bytes, and then closes the connection or goes on.
func answering(t *testing.T, answer string, closes bool) (addr string, conns *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	conns = new(atomic.Int64)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns.Add(1)
			go func() {
				defer conn.Close()
				for reader := bufio.NewReader(conn); ; {
					req, err := http.ReadRequest(reader)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					if _, err := io.WriteString(conn, answer); err != nil || closes {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String(), conns
}

// Pods say odd things, and wrong ones.
func TestAnswers(t *testing.T) {
	long := strings.Repeat("x", 100<<10)
	for name, c := range map[string]struct {
		answer string
		closes bool
		status int
		body   string
		broken bool
	}{
		"ordinary":               {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, 200, "ok", false},
		"long":                   {fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(long), long), false, 200, long, false},
		"with a strange reason":  {"HTTP/1.1 299 All right, then\r\nContent-Length: 2\r\n\r\nok", false, 299, "ok", false},
		"without a reason":       {"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", false, 200, "ok", false},
		"chunks":                 {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;ext=1\r\no\r\n1\r\nk\r\n0\r\n\r\n", false, 200, "ok", false},
		"chunks and a length":    {"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true, 200, "ok", false},
		"until the end":          {"HTTP/1.1 200 OK\r\n\r\nok", true, 200, "ok", false},
		"of old":                 {"HTTP/1.0 200 OK\r\n\r\nok", true, 200, "ok", false},
		"bare line ends":         {"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", false, 200, "ok", false},
		"first something else":   {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, 200, "ok", false},
		"nothing":                {"", true, 502, "ModelCrashed", false},
		"half a head":            {"HTTP/1.1 200 OK\r\nContent-Le", true, 502, "ModelCrashed", false},
		"no HTTP":                {"SSH-2.0-OpenSSH\r\n\r\n", true, 502, "ModelCrashed", false},
		"status of letters":      {"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n", true, 502, "ModelCrashed", false},
		"two lengths":            {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk", true, 502, "ModelCrashed", false},
		"another protocol":       {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", true, 502, "ModelCrashed", false},
		"endless head":           {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 300<<10), false, 502, "ModelCrashed", false},
		"body that breaks off":   {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", true, 200, "ok", true},
		"chunks that break off":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok", true, 200, "ok", true},
		"more than it announced": {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsmuggled!", false, 200, "ok", false},
		"next hop's":             {"HTTP/1.1 200 OK\r\nConnection: X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\nContent-Length: 2\r\n\r\nok", false, 200, "ok", false},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T) {
				addr, _ := answering(t, c.answer, c.closes)
				r := start(t, routertest.One("one", nil, addr), nil)
				for range 2 {
					a, err := try(t.Context(), http.DefaultClient, "http://"+r.HTTP, "POST", score, strings.NewReader("x"))
					if c.broken && err != nil && a.status == 0 {
						continue // Nothing had reached the caller yet.
					}
					if a.status != c.status || !strings.Contains(a.body, c.body) || c.status == 200 && a.body != c.body || (err != nil) != c.broken {
						t.Errorf("%d %.100q %v", a.status, a.body, err)
					}
					if a.header.Get("X-Secret")+a.header.Get("Keep-Alive") != "" {
						t.Errorf("header %v", a.header)
					}
					if c.closes {
						break // The next request might come just before the end of the connection.
					}
				}
			})
		})
	}
}

// Connections to pods are kept, unless the pod ended one while nothing was asked, which a request must not notice.
func TestKeptConnections(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		addr, conns := answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false)
		r := start(t, routertest.One("one", nil, addr), nil)
		for range 20 {
			ask(t, r, "POST", score, "x").want(t, 200, "ok")
		}
		if n := conns.Load(); n != 1 {
			t.Errorf("%d connections for one caller", n)
		}
		addr, _ = answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true)
		r = start(t, routertest.One("one", nil, addr), nil)
		for range 20 {
			ask(t, r, "POST", score, "x").want(t, 200, "ok")
			<-time.After(2 * time.Millisecond) // What ends a connection is not seen from here.
		}
	})
}

// A caller that sends no more is let go, though its end came with its request. It may have been answered before.
func TestEndsWithTheRequest(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		model := serveModel(t, echo)
		r := start(t, routertest.One("one", nil, model.addr), nil)
		for range 5 {
			conn := r.dial(t)
			_ = conn.SetDeadline(time.Now().Add(30 * time.Second)) // An idle connection has two minutes.
			_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1\r\n\r\na", score, routertest.Key("one"))
			_ = conn.(*net.TCPConn).CloseWrite()
			if all, err := io.ReadAll(conn); err != nil {
				t.Errorf("%q %v", all, err)
			}
			_ = conn.Close()
		}
	})
}

// However a request is cut in pieces, and whatever else comes on the connection, it is the same request.
func TestPieces(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		model := serveModel(t, echo)
		r := start(t, routertest.One("one", nil, model.addr), nil)
		conn := r.dial(t)
		defer conn.Close()
		auth := "Host: x\r\nAuthorization: Bearer " + routertest.Key("one") + "\r\n"
		long := strings.Repeat("z", 5000)
		text := "POST " + score + " HTTP/1.1\r\n" + auth + "Content-Length: 1\r\n\r\na" +
			"POST " + score + " HTTP/1.1\r\n" + auth + "Content-Length: 5000\r\n\r\n" + long +
			"GET /api/v1/endpoint/one/x HTTP/1.1\r\n" + auth + "\r\n" +
			"POST " + score + " HTTP/1.1\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n\r\n" +
			"POST " + score + " HTTP/1.1\r\n" + auth + "Connection: close\r\nContent-Length: 1\r\n\r\nc"
		go func() { _, _ = io.Copy(conn, iotest.OneByteReader(strings.NewReader(text))) }()
		reader := bufio.NewReader(conn)
		for _, want := range []string{"POST /score a", "POST /score " + long, "GET /x ", "POST /score b", "POST /score c"} {
			res, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			if string(body) != want || res.Close != strings.HasSuffix(want, "c") {
				t.Errorf("%.20q, want %.20q; close %v", body, want, res.Close)
			}
		}
		if _, err := reader.ReadByte(); err != io.EOF {
			t.Errorf("after that %v", err)
		}
	})
}

// Requests of every size come after each other on one connection, each alone or two at once.
func TestSizesInTurn(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		model := serveModel(t, echo)
		r := start(t, routertest.One("one", nil, model.addr), nil)
		conn := r.dial(t)
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		reader := bufio.NewReader(conn)
		for _, sizes := range [][]int{{20000}, {20000}, {1}, {1}, {64 << 10}, {64 << 10, 1}, {3900}, {30000, 40000}, {1}, {20000}} {
			var text string
			for _, n := range sizes {
				text += fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", score, routertest.Key("one"), n, strings.Repeat("z", n))
			}
			if _, err := io.WriteString(conn, text); err != nil {
				t.Fatal(err)
			}
			for _, n := range sizes {
				res, err := http.ReadResponse(reader, nil)
				if err != nil {
					t.Fatalf("%v: %v", sizes, err)
				}
				if body, err := io.ReadAll(res.Body); err != nil || string(body) != "POST /score "+strings.Repeat("z", n) {
					t.Errorf("%v: %d bytes, %v", sizes, len(body), err)
				}
			}
		}
	})
}

// A caller that leaves gives its place back, at a pod as well as in line; one whose pod is late hears so, and can ask on.
func TestLeavingAndLateness(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		model := serveBlocking(t)
		r := start(t, routertest.One("one", func(d *v1alpha1.OnlineDeployment) { d.Spec.Requests.MaxConcurrentPerInstance = 1 }, model.addr), nil)
		var conns []net.Conn
		for range 3 {
			conn := r.dial(t)
			_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 1\r\n\r\nx", score, routertest.Key("one"))
			conns = append(conns, conn)
		}
		r.until(t, "one at the pod, two in line", func(l routerload.Load) bool { return l.Busy == 1 && l.Queued == 2 })
		for _, conn := range conns {
			conn.Close()
		}
		r.until(t, "all gone", func(l routerload.Load) bool { return l.Busy+l.Queued == 0 })
		close(model.release)

		late := serveBlocking(t)
		r = start(t, routertest.One("one", func(d *v1alpha1.OnlineDeployment) { d.Spec.Requests.TimeoutMilliseconds = 100 }, late.addr), nil)
		ask(t, r, "POST", score, "x").want(t, 504, "RequestTimeout")
		close(late.release)
		ask(t, r, "POST", score, "x").want(t, 200, "done")
	})
}
