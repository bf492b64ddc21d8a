package httptunnel

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestAsk(t *testing.T) {
	for name, c := range map[string]struct{ answer, says string }{
		"granted":         {"HTTP/1.1 200 Connection established\r\n\r\n", ""},
		"refused":         {"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "403 Forbidden"},
		"with a reason":   {"HTTP/1.1 403 Forbidden\r\nFairlead-Reason: no identity\r\nContent-Length: 0\r\n\r\n", "403 Forbidden: no identity"},
		"more than asked": {"HTTP/1.1 200 OK\r\n\r\nSSH-2.0", "more than its answer"},
		"another tongue":  {"SSH-2.0\r\n", "reading the proxy's answer"},
		"nothing":         {"", "reading the proxy's answer"},
	} {
		near, far := net.Pipe() // whose ends notice at once when the other is closed
		asked := make(chan string, 1)
		go func() {
			req, err := http.ReadRequest(bufio.NewReader(far))
			if err != nil {
				asked <- err.Error()
				return
			}
			asked <- req.Method + " " + req.Host + " " + req.Header.Get("Proxy-Authorization")
			if _, _ = io.WriteString(far, c.answer); c.answer == "" {
				far.Close()
			}
		}()
		err := Ask(t.Context(), near, "fl.example:443", http.Header{"Proxy-Authorization": {"Bearer x"}})
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if got := <-asked; got != "CONNECT fl.example:443 Bearer x" {
			t.Errorf("%s: asked for %s", name, got)
		}
		near.Close()
		far.Close()
	}
}
