package wire

import "strings"

// framing is how a message says where it ends.
type framing struct {
	// Length is that of the body, HasLength whether the head says it: of a request without it there is no body, and an answer may have
	// it where no body follows.
	Length    int64
	HasLength bool
	// Close says that who sent the message ends the connection after it.
	Close bool
}

// heed takes note of a field that says how the message is to be read. Some make it one that is not ordinary.
func (m *framing) heed(f *Field) (ordinary bool) {
	is := func(name string) bool { return strings.EqualFold(f.Name, name) }
	switch len(f.Name) {
	case len("Upgrade"): // and Trailer
		return !is("Upgrade") && !is("Trailer")
	case len("Connection"):
		if is("Connection") {
			return keeps(f.Value, &m.Close)
		}
	case len("Content-Length"):
		if is("Content-Length") {
			n, ok := length(f.Value)
			ok = ok && !m.HasLength
			m.Length, m.HasLength = n, true
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
