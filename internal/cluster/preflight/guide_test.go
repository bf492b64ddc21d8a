package preflight

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the table of codes in the guide")

const (
	guide       = "../../../docs/guides/extension.md"
	begin, done = "<!-- codes: written by `go test ./internal/cluster/preflight -update` -->\n", "<!-- end of codes -->"
)

// TestGuide: the guide's table is that of the code.
func TestGuide(t *testing.T) {
	raw, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(raw), begin)
	got, after, ok2 := strings.Cut(rest, done)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the codes", guide)
	}
	want := table()
	if *update {
		if err := os.WriteFile(guide, []byte(before+begin+want+done+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s differs (-want +got), run with -update:\n%s", guide, diff)
	}
}

func table() string {
	var b strings.Builder
	b.WriteString("| code | name | installation | what it means |\n|---|---|---|---|\n")
	for _, c := range Codes {
		what := "goes on"
		switch {
		case c.Critical() && c.Passes():
			what = "waits until it is mended"
		case c.Critical():
			what = "fails before anything is applied"
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", c, c.Name, what, c.Means)
	}
	return b.String()
}
