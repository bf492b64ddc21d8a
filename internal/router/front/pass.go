package front

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/internal/router/wire"
)

var (
	errUpgraded  = errors.New("the pod changed the protocol, which nobody asked for")
	errLongBegun = errors.New("the head of the pod's answer is too long")
)

// largestAnswerHead is of a pod's answer.
const largestAnswerHead = 256 << 10

// deliver has a pod answer the request, and hands its answer on. A fault is what to answer instead.
func (c *conn) deliver() *fault {
	w := c.work
	w.attempt = attempt{call: &w.call}
	defer w.attempt.release()
	w.out = c.appendRequest(w.out[:0])
	c.wait(inLine, 0)
	err := w.attempt.deliver(c, c.at, always)
	if ended := c.waited(); err == nil {
		err = ended
	}
	if err != nil {
		if w.pod != nil {
			c.leavePod(false)
		}
		defer c.forgive()
		return faultOf(c, err, &w.call)
	}
	if w.odd != nil {
		err = c.passOdd(w.odd)
	} else {
		err = c.pass()
	}
	if err != nil { // The answer has begun: all that can be done is to break off.
		w.keep = false
	}
	if w.pod != nil {
		c.leavePod(false)
	}
	return nil
}

func always() bool { return true }

// try has one pod begin its answer. A connection that was kept may have ended just when the request came; where that may be asked
// twice, it is, over another.
func (c *conn) try(addr string) error {
	w, f := c.work, c.server.front
	defer c.wait(inLine, 0)
	for fresh := false; ; {
		c.watch.pod.Store(nil) // The one of before is another's by now.
		if !c.wait(atPod, w.call.deployment.Timeout) {
			return c.Err()
		}
		p, err := f.pods.get(c, addr, c.server.now.Load(), fresh)
		if err != nil {
			if c.watch.word.Load() == ended {
				return c.Err()
			}
			return err
		}
		w.pod, w.odd, w.got = p, nil, 0
		c.watch.pod.Store(p)
		if c.watch.word.Load() == ended { // before it was known which connection to end
			c.leavePod(false)
			return c.Err()
		}
		err = c.ask(p)
		if c.watch.word.Load() == ended {
			err = c.Err()
		}
		if err == nil {
			return nil
		}
		c.leavePod(false)
		if errors.Is(err, errStale) {
			continue
		}
		fresh = true
		if !p.used || w.got > 0 || c.Err() != nil || !idempotent(w.call.method) {
			return err
		}
	}
}

// leavePod keeps the connection, or ends it.
func (c *conn) leavePod(keep bool) {
	p := c.work.pod
	c.work.pod = nil
	if keep {
		c.server.front.pods.put(p, c.server.now.Load())
	} else {
		_ = p.Close()
	}
}

// ask sends the request and reads the head of the answer.
func (c *conn) ask(p *podConn) error {
	w := c.work
	if w.back == nil {
		w.back = backs.Get().(*[]byte)
	}
	back := (*w.back)[headRoom:]
	sent, err := p.ask(c)
	for {
		if end := wire.End(back[:w.got]); end > 0 {
			if w.end = end; w.answer.Read(back[:end], w.call.method) {
				return nil
			}
			return c.askOdd(p)
		}
		if err != nil {
			return errors.Join(sent, err)
		}
		if w.got == len(back) || wire.Odd(back[:w.got]) {
			return c.askOdd(p)
		}
		var n int
		n, err = p.Read(back[w.got:])
		w.got += n
	}
}

func (c *conn) tell(p *podConn) error {
	w := c.work
	if len(w.out)+len(w.body) <= cap(w.out) {
		_, err := p.Write(append(w.out, w.body...))
		return err
	}
	both := net.Buffers{w.out, w.body}
	_, err := both.WriteTo(p.TCPConn)
	return err
}

// askOdd has net/http read an answer that is not ordinary.
func (c *conn) askOdd(p *podConn) error {
	w := c.work
	w.read.Reset((*w.back)[headRoom : headRoom+w.got])
	limited := &io.LimitedReader{R: io.MultiReader(&w.read, p.TCPConn), N: largestAnswerHead}
	reader := bufio.NewReader(limited)
	w.reader = reader
	for range 6 { // A few may say that the answer is to come; they go no further.
		res, err := http.ReadResponse(reader, &http.Request{Method: w.call.method})
		switch {
		case err != nil && limited.N <= 0:
			return errLongBegun
		case err != nil:
			return err
		case res.StatusCode == http.StatusSwitchingProtocols:
			return errUpgraded
		case res.StatusCode >= 200:
			limited.N = 1<<63 - 1
			w.odd = res
			return nil
		}
	}
	return errLongBegun
}

// pass hands on an ordinary answer.
func (c *conn) pass() error {
	w := c.work
	a := &w.answer
	status, fields := w.call.answered(a.Status, w.call.toCaller(w.fields[:0]))
	w.call.status = status
	head := c.appendHead(status, a.All(), fields)
	have := int64(w.got - w.end)
	if have >= a.Length {
		c.leavePod(!a.Close && have == a.Length)
		w.attempt.release() // before the caller can ask again
		have = a.Length
	}
	back := *w.back
	start := headRoom + w.end
	body := back[start : start+int(have)]
	if len(head) > start {
		if err := c.send(head, body); err != nil {
			return err
		}
	} else {
		copy(back[start-len(head):], head)
		if err := c.put(back[start-len(head):start+int(have)], int(have)); err != nil {
			return err
		}
	}
	if w.pod == nil {
		return nil
	}
	return c.passRest(a.Length-have, !a.Close)
}

// passRest hands on what of a body has yet to come.
func (c *conn) passRest(left int64, keep bool) error {
	w := c.work
	back := *w.back
	for left > 0 {
		n, err := c.more(w.pod, back[:min(int64(len(back)), left)])
		if n > 0 {
			left -= int64(n)
			if left == 0 {
				c.leavePod(keep)
				w.attempt.release()
			}
			if err := c.put(back[:n], n); err != nil {
				return err
			}
		}
		if err != nil && left > 0 {
			return err
		}
	}
	return nil
}

// more reads on of a pod's answer, for as long as that takes and the caller is there.
func (c *conn) more(from io.Reader, p []byte) (int, error) {
	c.wait(atPod, 0)
	n, err := from.Read(p)
	if gone := c.waited(); gone != nil {
		return n, gone
	}
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.EOF) && c.work.odd == nil {
		c.work.attempt.broken.Store(true)
	}
	return n, err
}

// put writes to the caller. n of the bytes are of a body.
func (c *conn) put(p []byte, n int) error {
	c.wait(writing, stalled)
	_, err := c.pipe.Write(p)
	c.work.call.out += int64(n)
	return errors.Join(err, c.waited())
}

// passOdd hands on an answer that net/http reads: one that comes in chunks, with trailers, or until the pod closes.
func (c *conn) passOdd(res *http.Response) error {
	w := c.work
	status, fields := w.call.answered(res.StatusCode, w.call.toCaller(w.fields[:0]))
	w.call.status = status
	res.Header.Del("Content-Length")
	for _, listed := range res.Header["Connection"] {
		for name := range strings.SplitSeq(listed, ",") {
			res.Header.Del(strings.TrimSpace(name))
		}
	}
	bodiless := w.call.method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
	chunked := !bodiless && res.ContentLength < 0
	if res.ContentLength >= 0 && status != http.StatusNoContent {
		fields = append(fields, field{"Content-Length", strconv.FormatInt(res.ContentLength, 10)})
	}
	if chunked {
		fields = append(fields, field{"Transfer-Encoding", "chunked"})
		for name := range res.Trailer {
			fields = append(fields, field{"Trailer", name})
		}
	}
	if err := c.put(c.appendHead(status, plain(res.Header), fields), 0); err != nil || bodiless {
		return err
	}
	back := *w.back
	for {
		n, err := c.more(res.Body, back[16:len(back)-2])
		if n > 0 {
			if err := c.put(chunk(back, n, chunked), n); err != nil {
				return err
			}
		}
		switch {
		case err == nil:
			continue
		case !errors.Is(err, io.EOF):
			return err
		}
		c.leavePod(!res.Close && w.reader.Buffered() == 0 && w.read.Len() == 0)
		if chunked {
			return c.put(appendTrailer(w.out[:0], res.Trailer), 0)
		}
		return nil
	}
}

// chunk puts n bytes that begin at 16 in a chunk, if they are to be in one.
func chunk(b []byte, n int, chunked bool) []byte {
	if !chunked {
		return b[16 : 16+n]
	}
	var room [16]byte
	size := append(strconv.AppendInt(room[:0], int64(n), 16), '\r', '\n')
	start := 16 - len(size)
	copy(b[start:], size)
	b[16+n], b[16+n+1] = '\r', '\n'
	return b[start : 16+n+2]
}

func appendTrailer(b []byte, trailer http.Header) []byte {
	b = append(b, "0\r\n"...)
	for _, f := range plain(trailer) {
		b = appendField(b, f.Name, f.Value)
	}
	return append(b, '\r', '\n')
}

// plain are the fields of a header whose names and values can be written.
func plain(h http.Header) []wire.Field {
	var all []wire.Field
	for name, values := range h {
		for _, value := range values {
			if f := (wire.Field{Name: name, Value: value}); f.Valid() {
				all = append(all, f)
			}
		}
	}
	return all
}
