package wire

import "strings"

// Request is the head of an ordinary request: HTTP/1.1, a path without anything escaped, a body that says its length or none, and
// nothing that is between two neighbours but whether the connection is kept.
type Request struct {
	Fields
	framing
	Method, Path, Query, Host string
}

// Read reads a head up to and with the blank line. false: it is not an ordinary one.
func (r *Request) Read(head []byte) bool {
	s := view(head)
	end := strings.Index(s, "\r\n")
	if end < 0 || !r.line(s[:end]) || !r.read(s[end+2:]) {
		return false
	}
	r.Host, r.framing = "", framing{}
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
	}
	return r.framing.heed(f)
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
