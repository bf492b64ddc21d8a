package wire

import "strings"

// Request is the head of an ordinary request: HTTP/1.1, a path without anything escaped, a body that says its length or none, and
// nothing that is between two neighbours but whether the connection is kept.
type Request struct {
	Fields
	Method, Path, Query, Host string
	// Length is that of the body; 0 if there is none, which HasLength tells from one that is empty.
	Length    int64
	HasLength bool
	// Close says that the caller sends nothing after it.
	Close bool
}

// Read reads a head up to and with the blank line. false: it is not an ordinary one.
func (r *Request) Read(head []byte) bool {
	s := view(head)
	end := strings.Index(s, "\r\n")
	if end < 0 || !r.line(s[:end]) || !r.read(s[end+2:]) {
		return false
	}
	r.Host, r.Length, r.HasLength, r.Close = "", 0, false, false
	for i := range r.All() {
		if !r.heed(&r.room[i]) {
			return false
		}
	}
	return r.Host != ""
}

func (r *Request) line(line string) bool {
	method, rest, _ := strings.Cut(line, " ")
	target, version, _ := strings.Cut(rest, " ")
	if version != "HTTP/1.1" || !ordinaryMethod(method) {
		return false
	}
	path, query, asks := strings.Cut(target, "?")
	r.Method, r.Path, r.Query = method, path, query
	return Path(path) && all(query, inQuery) && asks == (query != "")
}

func ordinaryMethod(method string) bool {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return true
	}
	return false
}

// heed takes note of a field that says how the message is to be read. Some make it one that is not ordinary.
func (r *Request) heed(f *Field) (ordinary bool) {
	is := func(name string) bool { return strings.EqualFold(f.Name, name) }
	switch len(f.Name) {
	case len("Te"):
		return !is("Te")
	case len("Host"):
		if is("Host") {
			ordinary = r.Host == "" && f.Value != "" && all(f.Value, inHost)
			r.Host = f.Value
			return ordinary
		}
	case len("Expect"): // and Pragma, of which net/http makes another field
		return !is("Expect") && !is("Pragma")
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

// keeps reads a Connection that says nothing but whether the connection is kept.
func keeps(value string, closes *bool) bool {
	switch {
	case strings.EqualFold(value, "close"):
		*closes = true
		return true
	case strings.EqualFold(value, "keep-alive"), value == "":
		return true
	}
	return false
}

// HopByHop says that a field is for the next neighbour only. Those that a message is not ordinary with are not among them.
func HopByHop(name string) bool {
	switch len(name) {
	case len("Connection"), len("Proxy-Connection"), len("Proxy-Authenticate"), len("Proxy-Authorization"):
		return strings.EqualFold(name, "Connection") || strings.EqualFold(name, "Keep-Alive") || strings.EqualFold(name, "Proxy-Connection") ||
			strings.EqualFold(name, "Proxy-Authenticate") || strings.EqualFold(name, "Proxy-Authorization")
	}
	return false
}
