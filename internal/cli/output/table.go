package output

import (
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jmespath/go-jmespath"
)

// table prints rows under titles. Objects give one row per element; lists of lists give columns Column1…; scalars "Result".
func table(w io.Writer, v any, o Options) error {
	rows, isList := v.([]any)
	if !isList {
		if v == nil {
			return nil
		}
		rows = []any{v}
	}
	if len(rows) == 0 {
		return nil
	}
	cols := o.Columns
	if o.Query != "" || len(cols) == 0 {
		cols = nil
	}
	titles, cells := grid(rows, cols)
	widths := make([]int, len(titles))
	for i, t := range titles {
		widths[i] = utf8.RuneCountInString(t)
		for _, r := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(r[i]))
		}
	}
	rule := make([]string, len(titles))
	for i, n := range widths {
		rule[i] = strings.Repeat("-", n)
	}
	for _, r := range append([][]string{titles, rule}, cells...) {
		var b strings.Builder
		for i, c := range r {
			b.WriteString(c)
			if i < len(r)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)+2))
			}
		}
		if _, err := fmt.Fprintln(w, strings.TrimRight(b.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}

func grid(rows []any, cols []Column) (titles []string, cells [][]string) {
	if len(cols) == 0 {
		return guess(rows)
	}
	for _, c := range cols {
		titles = append(titles, c.Title)
	}
	for _, r := range rows {
		line := make([]string, len(cols))
		for i, c := range cols {
			if got, err := jmespath.Search(c.Path, r); err == nil {
				line[i] = scalar(got)
			}
		}
		cells = append(cells, line)
	}
	return titles, cells
}

// guess derives columns from the rows: the keys with scalar values, sorted, or positions.
func guess(rows []any) (titles []string, cells [][]string) {
	keys, width := map[string]bool{}, 0
	for _, r := range rows {
		switch t := r.(type) {
		case map[string]any:
			for k, v := range t {
				if isScalar(v) && v != nil {
					keys[k] = true
				}
			}
		case []any:
			width = max(width, len(t))
		default:
			width = max(width, 1)
		}
	}
	if len(keys) > 0 {
		names := make([]string, 0, len(keys))
		for k := range keys {
			names = append(names, k)
		}
		sort.Strings(names)
		var cols []Column
		for _, k := range names {
			cols = append(cols, Column{Title: title(k), Path: strconv.Quote(k)})
		}
		return grid(rows, cols)
	}
	for i := range width {
		titles = append(titles, "Column"+strconv.Itoa(i+1))
	}
	if width == 1 {
		titles = []string{"Result"}
	}
	for _, r := range rows {
		line := make([]string, width)
		if t, ok := r.([]any); ok {
			for i, v := range t {
				line[i] = scalar(v)
			}
		} else if width > 0 {
			line[0] = scalar(r)
		}
		cells = append(cells, line)
	}
	return titles, cells
}

func title(key string) string {
	parts := strings.FieldsFunc(key, func(r rune) bool { return r == '_' })
	for i, p := range parts {
		parts[i] = strings.ToUpper(p[:1]) + p[1:]
	}
	return strings.Join(parts, "_")
}

func isScalar(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return false
	}
	return true
}

// scalar is a value in one line. Control characters are shown escaped, so that a name cannot steer the terminal.
func scalar(v any) string {
	switch t := v.(type) {
	case nil:
		return ""
	case string:
		return clean(t)
	case bool:
		return map[bool]string{true: "True", false: "False"}[t]
	case float64:
		return strconv.FormatFloat(t, 'f', -1, 64)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return clean(string(data))
}

func clean(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\t':
			b.WriteByte(' ')
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, "\\x%02x", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// tsv prints values without titles: a scalar as it is, an object as its values by key, a list one line per element.
func tsv(w io.Writer, v any) error {
	rows, ok := v.([]any)
	if !ok {
		rows = []any{v}
	}
	for _, r := range rows {
		var cells []string
		switch t := r.(type) {
		case map[string]any:
			keys := make([]string, 0, len(t))
			for k := range t {
				keys = append(keys, k)
			}
			sort.Strings(keys)
			for _, k := range keys {
				cells = append(cells, tsvCell(t[k]))
			}
		case []any:
			for _, e := range t {
				cells = append(cells, tsvCell(e))
			}
		default:
			cells = []string{tsvCell(r)}
		}
		if _, err := fmt.Fprintln(w, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return nil
}

func tsvCell(v any) string {
	switch t := v.(type) {
	case string:
		return strings.NewReplacer("\t", " ", "\n", " ").Replace(t)
	case bool:
		return strconv.FormatBool(t)
	case map[string]any, []any:
		if !isScalar(v) {
			return ""
		}
	}
	return scalar(v)
}
