package server

import (
	"bytes"
	"encoding/json"
	"strings"
)

// lineEnds writes what must not stand in a text as it is.
var lineEnds = strings.NewReplacer("\r", `\r`, "\n", `\n`, "\t", `\t`)

// relaxed makes JSON of what azure-cli sends as a template: with comments, with names that have no quotes, and with line ends in
// texts. JSON stays as it is.
func relaxed(raw []byte) []byte {
	if json.Valid(raw) {
		return raw
	}
	out := make([]byte, 0, len(raw)+16)
	for i := 0; i < len(raw); {
		switch c := raw[i]; {
		case c == '"':
			n := textLength(raw[i:])
			out = append(out, lineEnds.Replace(string(raw[i:i+n]))...)
			i += n
		case bytes.HasPrefix(raw[i:], []byte("//")):
			i += upTo(raw[i:], "\n")
		case bytes.HasPrefix(raw[i:], []byte("/*")):
			i += upTo(raw[i:], "*/")
		case isLetter(c):
			n := 1
			for i+n < len(raw) && (isLetter(raw[i+n]) || raw[i+n] >= '0' && raw[i+n] <= '9') {
				n++
			}
			if rest := bytes.TrimLeft(raw[i+n:], " \t\r\n"); len(rest) > 0 && rest[0] == ':' {
				out = append(append(append(out, '"'), raw[i:i+n]...), '"')
			} else {
				out = append(out, raw[i:i+n]...)
			}
			i += n
		default:
			out = append(out, c)
			i++
		}
	}
	return out
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c == '$' }

// textLength is the length of the text in double quotes that s begins with.
func textLength(s []byte) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// upTo is where s goes on behind the first end.
func upTo(s []byte, end string) int {
	if i := bytes.Index(s[2:], []byte(end)); i >= 0 {
		return 2 + i + len(end)
	}
	return len(s)
}
