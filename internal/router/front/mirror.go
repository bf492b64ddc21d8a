package front

import (
	"bytes"
	"context"
	"io"
	"net/http"
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

// mirror sends a copy of the request to the endpoint's mirror, if it is this one's turn. Who calls does not wait for it.
func (f *Front) mirror(c *call, w http.ResponseWriter, r *http.Request) {
	d := c.endpoint.Mirror()
	if d == nil || d == c.deployment || r.ContentLength < 0 || r.ContentLength > maxMirrored || r.Header.Get("Upgrade") != "" || isGRPC(r.ProtoMajor, r.Header) {
		return
	}
	select {
	case mirrors <- struct{}{}:
	default:
		return
	}
	body, err := take(c, w, r)
	if err != nil {
		<-mirrors
		return
	}
	f.inflight.Add(1)
	go func() {
		defer f.inflight.Done()
		defer func() { <-mirrors }()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), mirrorAge)
		defer cancel()
		f.sendCopy(c, d, r.Clone(ctx), body)
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
	_ = rc.SetReadDeadline(time.Time{})
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
func (f *Front) sendCopy(c *call, d *table.Deployment, r *http.Request, body []byte) {
	m := &call{start: time.Now(), id: c.id, clientID: c.clientID, method: c.method, path: c.path, remote: c.remote, endpoint: c.endpoint, deployment: d, target: c.target, scoring: c.scoring, mirrored: true}
	if m.scoring {
		m.target = d.ScoringPath
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	w := &countingWriter{ResponseWriter: &nowhere{http.Header{}}}
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler {
			f.cfg.Log.Error("sending a copy to a mirror", "deployment", d.Key, "panic", p)
		}
		f.finish(m, w)
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
