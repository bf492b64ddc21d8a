package wire

import "strings"

// Response is the head of an ordinary answer: HTTP/1.1, final, with a body that says its length, or none.
type Response struct {
	Fields
	Status int
	// Length is that of the body; HasLength says that the head has it, which it may where no body follows.
	Length    int64
	HasLength bool
	// Close says that the pod ends the connection.
	Close bool
}

// Read reads the head of an answer to a request of a method. false: it is not an ordinary one.
func (r *Response) Read(head []byte, method string) bool {
	s := view(head)
	end := strings.Index(s, "\r\n")
	if end < 0 || !r.line(s[:end]) || !r.read(s[end+2:]) {
		return false
	}
	r.Length, r.HasLength, r.Close = 0, false, false
	for i := range r.All() {
		if !r.heed(&r.room[i]) {
			return false
		}
	}
	switch {
	case method == "HEAD" || r.Status == 304:
		r.Length = 0
		return true
	case r.Status == 204:
		return !r.HasLength
	}
	return r.HasLength
}

func (r *Response) line(line string) bool {
	const version = "HTTP/1.1 "
	if len(line) < len(version)+4 || line[:len(version)] != version || line[len(version)+3] != ' ' || !all(line, inValue) {
		return false
	}
	status, ok := length(line[len(version) : len(version)+3])
	r.Status = int(status)
	return ok && status >= 200 && status < 600
}

func (r *Response) heed(f *Field) (ordinary bool) {
	is := func(name string) bool { return strings.EqualFold(f.Name, name) }
	switch len(f.Name) {
	case len("Upgrade"): // and Trailer
		return !is("Upgrade") && !is("Trailer")
	case len("Connection"):
		if is("Connection") {
			return keeps(f.Value, &r.Close)
		}
	case len("Content-Length"):
		if is("Content-Length") {
			n, ok := length(f.Value)
			ok = ok && !r.HasLength
			r.Length, r.HasLength = n, true
			return ok
		}
	case len("Transfer-Encoding"):
		return !is("Transfer-Encoding")
	}
	return true
}
