package sqlstore

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func FuzzAfterPrefix(f *testing.F) {
	for _, s := range []string{"a", "a\U0010FFFF", "\uD7FF", "/s/", "\U0010FFFF"} {
		f.Add(s, "x")
	}
	f.Fuzz(func(t *testing.T, prefix, rest string) {
		if prefix == "" || !utf8.ValidString(prefix) || !utf8.ValidString(rest) {
			return
		}
		end := afterPrefix(prefix)
		if end == "" {
			if strings.Trim(prefix, "\U0010FFFF") != "" {
				t.Errorf("%q has no end", prefix)
			}
			return
		}
		if !utf8.ValidString(end) || prefix+rest >= end || strings.HasPrefix(end, prefix) {
			t.Errorf("%q ends at %q, but there is %q", prefix, end, prefix+rest)
		}
	})
}

func TestMicros(t *testing.T) {
	for _, at := range []time.Time{{}, time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC), time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if got := fromMicros(micros(at)); !got.Equal(at) {
			t.Errorf("%v comes back as %v", at, got)
		}
	}
}
