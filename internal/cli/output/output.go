// Package output prints command results as json, jsonc, yaml, table, tsv or none, after an optional JMESPath query.
package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jmespath/go-jmespath"
	"sigs.k8s.io/yaml"
)

// Formats are the values of --output.
var Formats = []string{"json", "jsonc", "none", "table", "tsv", "yaml", "yamlc"}

// Column is one column of a table: a title and a JMESPath expression on a row.
type Column struct{ Title, Path string }

// Options say how to print. Columns are used for tables when no query is given; Colour is for jsonc.
type Options struct {
	Format, Query string
	Columns       []Column
	Colour        bool
}

// Check refuses an unknown format or a query that does not parse.
func (o Options) Check() error {
	if !slices.Contains(Formats, o.Format) {
		return fmt.Errorf("argument --output/-o: invalid choice: %q (choose from %s)", o.Format, strings.Join(Formats, ", "))
	}
	if o.Query != "" {
		if _, err := jmespath.Compile(quoteBare(o.Query)); err != nil {
			return fmt.Errorf("argument --query: invalid jmespath expression %q: %w", o.Query, err)
		}
	}
	return nil
}

// Write prints a value. A nil value prints nothing.
func Write(w io.Writer, v any, o Options) error {
	if v == nil || o.Format == "none" {
		return nil
	}
	v, err := plain(v)
	if err != nil {
		return err
	}
	if o.Query != "" {
		if v, err = jmespath.Search(quoteBare(o.Query), v); err != nil {
			return fmt.Errorf("argument --query: %w", err)
		}
	}
	switch o.Format {
	case "table":
		return table(w, v, o)
	case "tsv":
		return tsv(w, v)
	case "yaml", "yamlc":
		data, err := yaml.Marshal(v)
		if err != nil {
			return fmt.Errorf("writing yaml: %w", err)
		}
		_, err = w.Write(data)
		return err
	}
	return writeJSON(w, v, o.Format == "jsonc" && o.Colour)
}

// quoteBare reads a backtick literal that is not JSON as a string (`x` for `"x"`), as the reference's command line does.
func quoteBare(query string) string {
	parts := strings.Split(query, "`")
	if len(parts)%2 == 0 {
		return query // unbalanced: for the parser to refuse
	}
	for i := 1; i < len(parts); i += 2 {
		if !json.Valid([]byte(parts[i])) {
			parts[i] = `"` + strings.ReplaceAll(parts[i], `"`, `\"`) + `"`
		}
	}
	return strings.Join(parts, "`")
}

// plain turns any value into maps, slices, strings, numbers and booleans, as JMESPath needs them.
func plain(v any) (any, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding the result: %w", err)
	}
	var out any
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("encoding the result: %w", err)
	}
	return out, nil
}

func writeJSON(w io.Writer, v any, colour bool) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encoding the result: %w", err)
	}
	data := buf.Bytes()
	if colour {
		data = paint(data)
	}
	_, err := w.Write(data)
	return err
}

// paint colours keys blue, strings green and other scalars cyan in indented JSON.
func paint(data []byte) []byte {
	var out bytes.Buffer
	for _, line := range strings.SplitAfter(string(data), "\n") {
		body := strings.TrimLeft(line, " ")
		out.WriteString(line[:len(line)-len(body)])
		if key, rest, ok := splitKey(body); ok {
			out.WriteString("\x1b[94m" + key + "\x1b[0m: ")
			body = rest
		}
		value := strings.TrimRight(body, ",\n")
		tail := body[len(value):]
		switch {
		case value == "" || strings.ContainsAny(value[:1], "{}[]"):
			out.WriteString(value)
		case value[0] == '"':
			out.WriteString("\x1b[32m" + value + "\x1b[0m")
		default:
			out.WriteString("\x1b[36m" + value + "\x1b[0m")
		}
		out.WriteString(tail)
	}
	return out.Bytes()
}

func splitKey(s string) (key, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return "", s, false
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			if strings.HasPrefix(s[i+1:], ": ") {
				return s[:i+1], s[i+3:], true
			}
			return "", s, false
		}
	}
	return "", s, false
}
