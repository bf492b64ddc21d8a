package sqlstore

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// blob is a parameter for bytes: nil stays NULL, and drivers see plain bytes rather than JSON.
func blob[T ~[]byte](b T) any {
	if b == nil {
		return nil
	}
	return []byte(b)
}

// blobScanner scans bytes or NULL into raw JSON.
type blobScanner struct{ raw *json.RawMessage }

func blobOf(raw *json.RawMessage) blobScanner { return blobScanner{raw} }

func (s blobScanner) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*s.raw = nil
	case []byte:
		*s.raw = append(make(json.RawMessage, 0, len(v)), v...)
	case string:
		*s.raw = json.RawMessage(v)
	default:
		return fmt.Errorf("value is stored as %T, want bytes", src)
	}
	return nil
}

// checkText refuses what one of the engines would: SQLite takes any bytes in a string, PostgreSQL does not.
func checkText(what string, values ...string) error {
	for _, v := range values {
		if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
			return fmt.Errorf("%s %q holds a byte that is not text", what, v)
		}
	}
	return nil
}

// checkKey is checkText for a string that must not be empty.
func checkKey(what, v string) error {
	if v == "" {
		return fmt.Errorf("%s is empty", what)
	}
	return checkText(what, v)
}
