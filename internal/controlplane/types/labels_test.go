package types

import (
	"strings"
	"testing"
)

func TestLabelValue(t *testing.T) {
	for in, want := range map[string]string{"a.b-c_d": "a.b-c_d", "-a-": "a", "(rg)": "rg", "ä": "", strings.Repeat("a", 62) + "-b": strings.Repeat("a", 62)} {
		if got := labelValue(in); got != want {
			t.Errorf("labelValue(%q) = %q; want %q", in, got, want)
		}
	}
}
