// Package wire reads the heads of ordinary HTTP/1.1 messages, strictly: what it takes means the same to net/http, and everything else,
// malformed or only unusual, it leaves to net/http. Nothing is copied: strings are the buffer's.
package wire

import (
	"strings"
	"unsafe"
)

// MaxFields is how many fields an ordinary head has at most.
const MaxFields = 48

// Field is one field of a header.
type Field struct{ Name, Value string }

// Valid says that a field can be written.
func (f *Field) Valid() bool { return f.Name != "" && all(f.Name, inToken) && all(f.Value, inValue) }

// Path says that a path is an ordinary one.
func Path(path string) bool { return path != "" && path[0] == '/' && all(path, inPath) }

// Fields are those of one header, in order.
type Fields struct {
	room [MaxFields]Field
	n    int
}

// All are the fields, until the next head is read.
func (f *Fields) All() []Field { return f.room[:f.n] }

// Get is the first value of a field by its name in any case; "" if there is none.
func (f *Fields) Get(name string) string {
	for i := range f.room[:f.n] {
		if len(f.room[i].Name) == len(name) && strings.EqualFold(f.room[i].Name, name) {
			return f.room[i].Value
		}
	}
	return ""
}

// read takes all lines up to the blank one that ends a head, which must be the last.
func (f *Fields) read(lines string) bool {
	for f.n = 0; lines != "\r\n"; f.n++ {
		if f.n == MaxFields {
			return false
		}
		colon := 0
		for colon < len(lines) && kinds[lines[colon]]&inToken != 0 {
			colon++
		}
		if colon == 0 || colon == len(lines) || lines[colon] != ':' {
			return false
		}
		end := strings.IndexByte(lines, '\r')
		if end < colon || end+1 >= len(lines) || lines[end+1] != '\n' {
			return false
		}
		value := trim(lines[colon+1 : end])
		if !all(value, inValue) {
			return false
		}
		f.room[f.n] = Field{lines[:colon], value}
		lines = lines[end+2:]
	}
	return true
}

// kind says where a byte may be.
type kind uint8

const (
	inToken kind = 1 << iota
	inValue
	inPath
	inQuery
	inHost
)

var kinds = func() (all [256]kind) {
	for c := range all {
		if c >= ' ' && c != 0x7f || c == '\t' {
			all[c] |= inValue
		}
		if c > ' ' && c < 0x7f && c != '#' {
			all[c] |= inQuery
		}
	}
	mark := func(chars string, k kind) {
		for _, c := range chars {
			all[c] |= k
		}
	}
	const alnum = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	mark(alnum+"!#$%&'*+-.^_`|~", inToken)
	mark(alnum+"/-._~!$&'()*+,;=:@", inPath) // nothing that is escaped
	mark(alnum+"-._:[]", inHost)
	return all
}()

func all(s string, k kind) bool {
	for i := range len(s) {
		if kinds[s[i]]&k == 0 {
			return false
		}
	}
	return true
}

func trim(s string) string {
	for s != "" && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for s != "" && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

// length reads a Content-Length: digits, and not more than are ever needed.
func length(s string) (n int64, ok bool) {
	if s == "" || len(s) > 15 {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// view is a string of the same bytes.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// End is the length of the head that b begins with, 0 if it has not arrived whole.
func End(b []byte) int {
	if i := strings.Index(view(b), "\r\n\r\n"); i >= 0 {
		return i + 4
	}
	return 0
}

// Odd says of the beginning of a head that it will never be ordinary: it has line ends of its own.
func Odd(b []byte) bool {
	s := view(b)
	for {
		i := strings.IndexByte(s, '\n')
		if i < 0 {
			return false
		}
		if i == 0 || s[i-1] != '\r' {
			return true
		}
		s = s[i+1:]
	}
}
