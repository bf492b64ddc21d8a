package front

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/router/wire"
)

// appendRequest appends the head of the request for a pod.
func (c *conn) appendRequest(b []byte) []byte {
	w := c.work
	h := &w.head
	b = append(append(append(b, h.Method...), ' '), writable(w.call.target)...)
	if h.Query != "" {
		b = append(append(b, '?'), h.Query...)
	}
	b = appendField(append(b, " HTTP/1.1\r\n"...), "Host", h.Host)
	for _, f := range h.All() {
		if !wire.HopByHop(f.Name) && !withheld(f.Name) && !strings.EqualFold(f.Name, "Host") {
			b = appendField(b, f.Name, f.Value)
		}
	}
	if !h.HasLength && (h.Method == http.MethodPost || h.Method == http.MethodPut || h.Method == http.MethodPatch) {
		b = appendField(b, "Content-Length", "0")
	}
	for _, f := range w.call.toPod(w.fields[:0]) {
		b = appendField(b, f.name, f.value)
	}
	return append(b, '\r', '\n')
}

// writable is a path as net/http would write it: that of a deployment's scoring route may be anything.
func writable(path string) string {
	if wire.Path(path) {
		return path
	}
	var u url.URL
	u.Path, u.RawPath = unescaped(path)
	return u.EscapedPath()
}

// appendHead makes the head of an answer, of a pod's fields and the router's.
func (c *conn) appendHead(status int, pod []wire.Field, own []field) []byte {
	w := c.work
	b := strconv.AppendInt(append(w.out[:0], "HTTP/1.1 "...), int64(status), 10)
	b = append(append(append(b, ' '), http.StatusText(status)...), '\r', '\n')
	dated := false
	for i := range pod {
		f := &pod[i]
		if wire.HopByHop(f.Name) || w.call.replaced(f.Name) || unframed(f.Name) {
			continue
		}
		dated = dated || len(f.Name) == len("Date") && strings.EqualFold(f.Name, "Date")
		b = appendField(b, f.Name, f.Value)
	}
	if !dated {
		b = appendField(b, "Date", *c.server.date.Load())
	}
	for _, f := range own {
		b = appendField(b, f.name, f.value)
	}
	if !w.keep {
		b = appendField(b, "Connection", "close")
	}
	b = append(b, '\r', '\n')
	w.out = b[:0]
	return b
}

// unframed says that a field speaks of how a message was sent, which an ordinary one has not.
func unframed(name string) bool {
	switch len(name) {
	case len("Trailer"):
		return strings.EqualFold(name, "Trailer") || strings.EqualFold(name, "Upgrade")
	case len("Transfer-Encoding"):
		return strings.EqualFold(name, "Transfer-Encoding")
	}
	return false
}

func appendField(b []byte, name, value string) []byte {
	return append(append(append(append(b, name...), ": "...), value...), '\r', '\n')
}
