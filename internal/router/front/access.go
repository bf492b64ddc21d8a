package front

import (
	"bufio"
	"context"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// AccessLog writes a JSON line for each request. Lines are gathered and written once a second, or when there are many; Run does it.
// Neither keys, nor query strings, nor bodies are in it.
type AccessLog struct {
	mu  sync.Mutex
	out *bufio.Writer
}

// NewAccessLog writes to w.
func NewAccessLog(w io.Writer) *AccessLog { return &AccessLog{out: bufio.NewWriterSize(w, 64<<10)} }

// Run writes what is gathered every second, until ctx ends and once more then.
func (l *AccessLog) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			l.flush()
			return
		case <-tick.C:
			l.flush()
		}
	}
}

func (l *AccessLog) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.out.Flush() // There is nobody to tell that the log is full.
}

var lines = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}

func (l *AccessLog) write(c *call, took time.Duration) {
	line := lines.Get().(*[]byte)
	defer lines.Put(line)
	*line = appendLine((*line)[:0], c, took)
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.out.Write(*line)
}

func appendLine(b []byte, c *call, took time.Duration) []byte {
	b = append(b, `{"time":"`...)
	b = appendTime(b, c.start)
	b = append(b, `","msg":"request","requestId":"`...)
	b = append(b, c.id...)
	b = append(b, '"')
	if c.clientID != "" {
		b = appendText(b, "clientRequestId", c.clientID)
	}
	if c.trace != "" {
		b = appendText(b, "traceId", c.trace)
	}
	if c.endpoint != nil {
		b = appendText(b, "endpoint", c.endpoint.Name)
	}
	if c.deployment != nil {
		b = appendText(b, "deployment", c.deployment.Name)
	}
	if c.pod != "" {
		b = appendText(b, "pod", c.pod)
	}
	b = appendText(b, "method", c.method)
	b = appendText(b, "path", c.path)
	b = appendText(b, "remote", c.remote)
	b = appendNumber(b, "status", int64(c.status))
	if c.reason != "" {
		b = appendText(b, "reason", c.reason)
	}
	if c.mirrored {
		b = append(b, `,"mirror":true`...)
	}
	b = appendNumber(b, "in", c.in.Load())
	b = appendNumber(b, "out", c.out)
	b = appendMillis(b, "ms", took)
	b = appendMillis(b, "queuedMs", c.queued)
	if c.tries > 1 {
		b = appendNumber(b, "tries", int64(c.tries))
	}
	return append(b, "}\n"...)
}

func appendNumber(b []byte, key string, n int64) []byte {
	b = append(append(append(b, `,"`...), key...), `":`...)
	return strconv.AppendInt(b, n, 10)
}

func appendMillis(b []byte, key string, d time.Duration) []byte {
	b = append(append(append(b, `,"`...), key...), `":`...)
	micros := d.Microseconds()
	b = strconv.AppendInt(b, micros/1000, 10)
	if micros %= 1000; micros != 0 {
		b = appendThree(append(b, '.'), micros)
		for b[len(b)-1] == '0' {
			b = b[:len(b)-1]
		}
	}
	return b
}

// second is the text of a moment's second: lines that come one after the other have the same.
type second struct {
	unix int64
	text string
}

var lastSecond atomic.Pointer[second]

// appendTime is RFC 3339 in UTC, with milliseconds.
func appendTime(b []byte, at time.Time) []byte {
	s := lastSecond.Load()
	if s == nil || s.unix != at.Unix() {
		s = &second{at.Unix(), at.UTC().Format("2006-01-02T15:04:05.")}
		lastSecond.Store(s)
	}
	return append(appendThree(append(b, s.text...), int64(at.Nanosecond())/1e6), 'Z')
}

// appendThree appends a number below 1000 in three digits.
func appendThree(b []byte, n int64) []byte {
	return append(b, byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10))
}

// appendText escapes what JSON does not have in strings. Bytes that are no UTF-8 become question marks.
func appendText(b []byte, key, value string) []byte {
	b = append(append(append(b, `,"`...), key...), `":"`...)
	if simple(value) {
		return append(append(b, value...), '"')
	}
	const hexadecimal = "0123456789abcdef"
	for _, r := range value {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || r == 0x7f:
			b = append(b, `\u00`...)
			b = append(b, hexadecimal[r>>4], hexadecimal[r&15])
		case r == '\uFFFD':
			b = append(b, '?')
		default:
			b = append(b, string(r)...)
		}
	}
	return append(b, '"')
}

// simple says that a text is in JSON as it is.
func simple(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
