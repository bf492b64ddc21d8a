package front

import (
	"encoding/binary"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/router/table"
)

// call is one request on its way: what the log, the metrics and the error need to know of it.
type call struct {
	request
	start        time.Time
	id, clientID string
	endpoint     *table.Endpoint
	deployment   *table.Deployment
	trace        string // the caller's trace id, if it has one
	// target is the escaped path at the pod.
	target  string
	scoring bool
	cors    cors
	// mirrored says that this is a copy.
	mirrored bool
	pod      string
	tries    int
	queued   time.Duration
	reason   string
	in       atomic.Int64
	// uploadFailed says that the caller did not send its body whole, or too slowly.
	uploadFailed atomic.Bool
	status       int
	out          int64
}

const (
	pathPrefix = "/api/v1/endpoint/"
	scorePath  = "/score"
)

// begin is for a request that was just read.
func (c *call) begin(r request) {
	c.request, c.start, c.id, c.clientID = r, time.Now(), newID(), clientID(r.header.Get(HeaderClientRequestID))
	c.trace = traceID(r.header.Get("Traceparent"))
}

// split finds the endpoint's name in a path, and what follows it: /api/v1/endpoint/<name>/<rest>. A gRPC call may name it in a header.
func split(r *request) (name, rest string, ok bool) {
	if after, found := strings.CutPrefix(r.path, pathPrefix); found {
		i := strings.IndexByte(after, '/')
		if i < 0 {
			return after, "/", after != ""
		}
		return after[:i], after[i:], i > 0
	}
	if name = r.header.Get(HeaderEndpoint); name != "" && r.isGRPC() {
		return name, r.path, strings.HasPrefix(r.path, "/")
	}
	return "", "", false
}

// newID makes a random GUID (version 4). It is an address for people, not a secret.
func newID() string {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], rand.Uint64())
	binary.LittleEndian.PutUint64(b[8:], rand.Uint64())
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	var text [36]byte
	hex.Encode(text[:8], b[:4])
	hex.Encode(text[9:13], b[4:6])
	hex.Encode(text[14:18], b[6:8])
	hex.Encode(text[19:23], b[8:10])
	hex.Encode(text[24:], b[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

// maxClientID is how much of a caller's own request id is kept.
const maxClientID = 40

// clientID keeps of a caller's own request id what may be in one: letters, digits, - and _, 40 of them.
func clientID(text string) string {
	if len(text) <= maxClientID && strings.IndexFunc(text, notInID) < 0 {
		return text
	}
	kept := strings.Map(func(r rune) rune {
		if notInID(r) {
			return -1
		}
		return r
	}, text)
	return kept[:min(len(kept), maxClientID)]
}

func notInID(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// countingWriter remembers the status and counts the bytes of an answer.
type countingWriter struct {
	http.ResponseWriter
	status   int
	n        int64
	http1    bool
	deadline time.Time
}

// A caller that takes nothing of its answer for this long is given up, so that it does not keep a pod busy.
const stalled = time.Minute

// push moves the deadline of writing on, now and then. HTTP/2 has flow control and pings instead; a deadline there would end streams
// that have nothing to say.
func (w *countingWriter) push() {
	if !w.http1 {
		return
	}
	if time.Until(w.deadline) < stalled/2 {
		w.pushAnyway()
	}
}

// pushAnyway is for the end of an answer: its last bytes are written when the handler has returned, maybe after a long silence.
func (w *countingWriter) pushAnyway() {
	if w.http1 {
		w.deadline = time.Now().Add(stalled)
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(w.deadline) // Not all writers have one.
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *countingWriter) WriteHeader(status int) {
	w.push()
	if w.status == 0 && (status >= 200 || status == http.StatusSwitchingProtocols) {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (w *countingWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.push()
	n, err := w.ResponseWriter.Write(p)
	w.n += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// countingBody counts the bytes of a request.
type countingBody struct {
	io.ReadCloser
	n *atomic.Int64
}

// Read implements io.Reader.
func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}
