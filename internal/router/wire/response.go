package wire

import "strings"

// Response is the head of an ordinary answer: HTTP/1.1, final, with a body that says its length, or none.
type Response struct {
	Fields
	framing
	Status int
}

// Read reads the head of an answer to a request of a method. false: it is not an ordinary one.
func (r *Response) Read(head []byte, method string) bool {
	s := view(head)
	end := strings.Index(s, "\r\n")
	if end < 0 || !r.line(s[:end]) || !r.read(s[end+2:]) {
		return false
	}
	r.framing = framing{}
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
