package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
)

// readObject reads a JSON object for a type from a request's body.
func readObject(r *http.Request, t *resource.Type) (json.RawMessage, error) {
	raw, err := readJSON(r)
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request has no body; %s needs a JSON object.", r.Method)
	}
	if t.JSONC {
		raw = relaxed(raw)
	}
	return raw, checkObject(raw)
}

// readJSON reads a body that may be empty.
func readJSON(r *http.Request) (json.RawMessage, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, err
		}
		return nil, &arm.Error{Status: http.StatusBadRequest, Code: "InvalidRequestContent", Message: "The request body could not be read to its end.", Cause: err}
	}
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return nil, nil
	}
	return raw, checkContentType(r)
}

// checkContentType accepts JSON in any of its names.
func checkContentType(r *http.Request) error {
	ct := r.Header.Get("Content-Type")
	mt, _, err := mime.ParseMediaType(ct)
	if err == nil && (mt == "application/json" || mt == "text/json" || strings.HasPrefix(mt, "application/") && strings.HasSuffix(mt, "+json")) {
		return nil
	}
	if ct == "" {
		ct = "<null>"
	}
	return arm.Errorf(http.StatusUnsupportedMediaType, "UnsupportedMediaType", "The content media type '%s' is not supported. Only 'application/json' is supported.", ct)
}

// checkObject checks that raw is one JSON object; the error names line, column and field.
func checkObject(raw []byte) error {
	if !utf8.Valid(raw) {
		return arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content is not valid UTF-8.")
	}
	var obj map[string]json.RawMessage
	err := json.Unmarshal(raw, &obj)
	if se, ok := errors.AsType[*json.SyntaxError](err); ok {
		offset := min(max(int(se.Offset), 0), len(raw))
		line, col := position(raw, offset)
		where := ""
		if p := pathAt(raw[:offset]); p != "" {
			where = fmt.Sprintf(", in '%s'", p)
		}
		return &arm.Error{Status: http.StatusBadRequest, Code: "InvalidRequestContent", Target: pathAt(raw[:offset]),
			Message: fmt.Sprintf("The request content was invalid and could not be deserialized: line %d, column %d%s: %s.", line, col, where, se.Error())}
	}
	if err != nil || obj == nil {
		return arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content must be a JSON object, such as {\"properties\":{}}.")
	}
	return nil
}

// position is the line and column, from 1, of the last byte read.
func position(raw []byte, offset int) (line, col int) {
	before := raw[:offset]
	line = bytes.Count(before, []byte("\n")) + 1
	last := before[bytes.LastIndexByte(before, '\n')+1:]
	return line, max(utf8.RuneCount(last), 1)
}

// pathAt is the field that was being read when a JSON text broke off: properties.inputs[2].uri.
func pathAt(prefix []byte) string {
	type level struct {
		array bool
		index int
		key   string
		value bool // in an object: the next token is the key's value
	}
	var stack []level
	dec := json.NewDecoder(bytes.NewReader(prefix))
	dec.UseNumber()
	next := func() { // a value has ended
		if n := len(stack); n > 0 {
			stack[n-1].index++
			stack[n-1].value = false
		}
	}
	for {
		tok, err := dec.Token()
		if err != nil {
			break
		}
		switch d, _ := tok.(json.Delim); {
		case d == '{' || d == '[':
			stack = append(stack, level{array: d == '['})
		case d == '}' || d == ']':
			stack = stack[:len(stack)-1]
			next()
		case len(stack) > 0 && !stack[len(stack)-1].array && !stack[len(stack)-1].value:
			key, _ := tok.(string)
			stack[len(stack)-1].key, stack[len(stack)-1].value = key, true
		default:
			next()
		}
	}
	var b strings.Builder
	for _, l := range stack {
		switch {
		case l.array:
			b.WriteString("[" + strconv.Itoa(l.index) + "]")
		case l.key != "":
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(l.key)
		}
	}
	return b.String()
}
