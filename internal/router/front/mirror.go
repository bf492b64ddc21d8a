package front

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/router/table"
)

const (
	// maxMirrored is the largest body of which a copy is kept for a mirror; larger requests are not mirrored.
	maxMirrored = 1 << 20
	// maxMirrors is how many copies are on their way at once; a mirror that is slow loses requests, never delays them.
	maxMirrors = 256
	// mirrorAge is how long a copy may take in all.
	mirrorAge = 10 * time.Minute
)

// mirrors are the copies on their way.
var mirrors = make(chan struct{}, maxMirrors)

// mirrorOf is the deployment that a copy of this request goes to, or nil.
func (f *Front) mirrorOf(c *call) *table.Deployment {
	d := c.endpoint.Mirror()
	if d == nil || d == c.deployment || c.length < 0 || c.length > maxMirrored || c.upgrade || c.isGRPC() {
		return nil
	}
	return d
}

// copyFor is a call of its own for a copy to d, which outlives the request.
func (c *call) copyFor(d *table.Deployment) *call {
	m := &call{start: time.Now(), id: c.id, clientID: strings.Clone(c.clientID), endpoint: c.endpoint, deployment: d, target: strings.Clone(c.target), scoring: c.scoring, mirrored: true}
	m.request = request{method: strings.Clone(c.method), path: strings.Clone(c.path), host: strings.Clone(c.host), remote: c.remote, ip: c.ip, major: c.major, length: c.length, secure: c.secure, header: http.Header{}}
	if m.scoring {
		m.target = d.ScoringPath
	}
	return m
}

// mirror sends a copy with that body to the endpoint's mirror. Who calls does not wait for it.
func (f *Front) mirror(m *call, r *http.Request, body []byte) {
	select {
	case mirrors <- struct{}{}:
	default:
		return
	}
	f.inflight.Add(1)
	go func() {
		defer f.inflight.Done()
		defer func() { <-mirrors }()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), mirrorAge)
		defer cancel()
		f.sendCopy(m, r.Clone(ctx), body)
	}()
}

// maxTaken is the largest body that is read before its request waits for a pod. Only when a body was read to its end does the server
// notice that a caller has left, whose request would else stay in line and be answered for nobody.
const maxTaken = 64 << 10

// take reads a request's body to its end, which may take as long as an answer, and leaves it to be read again.
func take(c *call, w http.ResponseWriter, r *http.Request) ([]byte, error) {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(c.deployment.Timeout)) // Not all writers have one.
	body, err := io.ReadAll(r.Body)
	if err == nil { // Else the deadline stays: the server must not wait for the rest before it answers.
		_ = rc.SetReadDeadline(time.Time{})
	}
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), &failing{err}))
	return body, err
}

// failing gives the error with which reading a body ended, if any, after what was read of it.
type failing struct{ err error }

// Read implements io.Reader.
func (e *failing) Read([]byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	return 0, io.EOF
}

// sendCopy sends a copy and throws the answer away; the metrics tell of it.
func (f *Front) sendCopy(m *call, r *http.Request, body []byte) {
	r.Body = io.NopCloser(bytes.NewReader(body))
	w := &countingWriter{ResponseWriter: &nowhere{http.Header{}}}
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			w.status = http.StatusInternalServerError
			f.cfg.Log.Error("sending a copy to a mirror", "deployment", m.deployment.Key, "panic", p)
		}
		m.status, m.out = w.status, w.n
		f.finish(m)
	}()
	f.proxy.serve(w, r, m)
}

// nowhere is where the answers of mirrors go.
type nowhere struct{ header http.Header }

// Header implements http.ResponseWriter.
func (n *nowhere) Header() http.Header { return n.header }

// Write implements http.ResponseWriter.
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }

// WriteHeader implements http.ResponseWriter.
func (n *nowhere) WriteHeader(int) {}
