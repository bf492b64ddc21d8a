package output

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWrite(t *testing.T) {
	rows := []map[string]any{{"name": "a", "n": 1, "sub": map[string]any{"x": true}}, {"name": "b\x1b[31m", "n": 2.5, "more_words": "é"}}
	for name, tc := range map[string]struct {
		v    any
		o    Options
		want string
	}{
		"table": {rows, Options{Format: "table", Columns: []Column{{"Name", "name"}, {"X", "sub.x"}}},
			"Name       X\n---------  ----\na          True\nb\\x1b[31m\n"},
		"table guessed":        {rows, Options{Format: "table"}, "More_Words  N    Name\n----------  ---  ---------\n            1    a\né           2.5  b\\x1b[31m\n"},
		"table of one":         {rows[0], Options{Format: "table", Columns: []Column{{"Name", "name"}}}, "Name\n----\na\n"},
		"table of query":       {rows, Options{Format: "table", Query: "[].{K:name}", Columns: []Column{{"Name", "name"}}}, "K\n---------\na\nb\\x1b[31m\n"},
		"table of lists":       {rows, Options{Format: "table", Query: "[:1].[name, n]"}, "Column1  Column2\n-------  -------\na        1\n"},
		"table of scalars":     {rows, Options{Format: "table", Query: "[0].n"}, "Result\n------\n1\n"},
		"table of nothing":     {[]any{}, Options{Format: "table"}, ""},
		"tsv":                  {rows[0], Options{Format: "tsv"}, "1\ta\t\n"},
		"tsv of list":          {rows, Options{Format: "tsv", Query: "[].n"}, "1\n2.5\n"},
		"yaml":                 {rows[0], Options{Format: "yaml"}, "\"n\": 1\nname: a\nsub:\n  x: true\n"},
		"json":                 {map[string]any{"b": "<", "a": 1}, Options{Format: "json"}, "{\n  \"a\": 1,\n  \"b\": \"<\"\n}\n"},
		"jsonc":                {map[string]any{"a": "x: y", "b": 1}, Options{Format: "jsonc", Colour: true}, "{\n  \x1b[94m\"a\"\x1b[0m: \x1b[32m\"x: y\"\x1b[0m,\n  \x1b[94m\"b\"\x1b[0m: \x1b[36m1\x1b[0m\n}\n"},
		"none":                 {rows, Options{Format: "none"}, ""},
		"bare backtick":        {rows, Options{Format: "tsv", Query: "[?name==`a`].n"}, "1\n"},
		"query without a hit":  {rows, Options{Format: "json", Query: "[0].zzz"}, "null\n"},
		"no value at all":      {nil, Options{Format: "json"}, ""},
		"backtick with number": {rows, Options{Format: "tsv", Query: "[?n==`1`].name"}, "a\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			if err := tc.o.Check(); err != nil {
				t.Fatal(err)
			}
			if err := Write(&b, tc.v, tc.o); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	if err := (Options{Format: "xml"}).Check(); err == nil {
		t.Error("format xml was accepted")
	}
	if err := (Options{Format: "json", Query: "[`"}).Check(); err == nil {
		t.Error("an unfinished query was accepted")
	}
}
