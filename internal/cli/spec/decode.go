// Package spec reads the YAML files of the command line (jobs, environments, data, models, computes, workspaces)
// strictly: an unknown key, a wrong type or a value out of rule is an error that names file, line, key, value and remedy.
package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxSize bounds a file, in bytes.
const MaxSize = 1 << 20

// Problem is one fault of a file. Line is 0 for a value that came from --set or is missing altogether.
type Problem struct {
	File string
	Line int
	Text string
}

func (p Problem) Error() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// Problems are all faults of a file, in the order of its lines.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Document is a parsed file before it is given a meaning, so that --set can change it.
type Document struct {
	file string
	root *yaml.Node
}

// Parse reads one YAML document that is a mapping; empty data is an empty mapping.
func Parse(file string, data []byte) (*Document, error) {
	if len(data) > MaxSize {
		return nil, Problems{{File: file, Text: fmt.Sprintf("%d bytes long; at most %d are allowed", len(data), MaxSize)}}
	}
	doc := &Document{file: file, root: &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var n yaml.Node
	switch err := dec.Decode(&n); {
	case errors.Is(err, io.EOF):
		return doc, nil
	case err != nil:
		return nil, syntaxProblem(file, err)
	}
	var more yaml.Node
	if err := dec.Decode(&more); err == nil {
		return nil, Problems{{file, more.Line, "a second YAML document begins here; one file holds one document"}}
	} else if !errors.Is(err, io.EOF) {
		return nil, syntaxProblem(file, err)
	}
	top := n.Content[0]
	if top.Kind == yaml.ScalarNode && top.Tag == "!!null" {
		return doc, nil
	}
	if top.Kind != yaml.MappingNode {
		return nil, Problems{{file, top.Line, "must be a mapping of keys to values, not " + kindName(top)}}
	}
	doc.root = top
	return doc, nil
}

// syntaxProblem turns "yaml: line 3: did not…" into a Problem.
func syntaxProblem(file string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if num, tail, ok := strings.Cut(rest, ": "); ok {
			if n, err := strconv.Atoi(num); err == nil {
				line, text = n, tail
			}
		}
	}
	return Problems{{file, line, "not valid YAML: " + text}}
}

// Set changes the value at a dotted path (--set a.b=c); the value is read as YAML, so numbers, lists and maps are possible.
func (d *Document) Set(assignment string) error {
	path, value, ok := strings.Cut(assignment, "=")
	if !ok || path == "" {
		return fmt.Errorf("argument --set: %q: want <path>=<value>, such as resources.instance_count=2", assignment)
	}
	var v yaml.Node
	if err := yaml.Unmarshal([]byte(value), &v); err != nil || len(v.Content) == 0 {
		v = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}}}
	}
	leaf := v.Content[0]
	clearLines(leaf)
	n := d.root
	keys := strings.Split(path, ".")
	for i, k := range keys {
		if k == "" {
			return fmt.Errorf("argument --set: %q: the path has an empty part", assignment)
		}
		at := slices.IndexFunc(everySecond(n.Content), func(c *yaml.Node) bool { return c.Value == k })
		if i == len(keys)-1 {
			put(n, at, k, leaf)
			return nil
		}
		if at < 0 || n.Content[2*at+1].Kind != yaml.MappingNode {
			put(n, at, k, &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"})
			at = slices.IndexFunc(everySecond(n.Content), func(c *yaml.Node) bool { return c.Value == k })
		}
		n = n.Content[2*at+1]
	}
	return nil
}

// SetString sets a top-level text, as a flag of the command line does.
func (d *Document) SetString(key, value string) {
	at := slices.IndexFunc(everySecond(d.root.Content), func(c *yaml.Node) bool { return c.Value == key })
	put(d.root, at, key, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value})
}

// Lookup returns a top-level scalar's text.
func (d *Document) Lookup(key string) string {
	for i := 0; i+1 < len(d.root.Content); i += 2 {
		if d.root.Content[i].Value == key && d.root.Content[i+1].Kind == yaml.ScalarNode {
			return d.root.Content[i+1].Value
		}
	}
	return ""
}

func clearLines(n *yaml.Node) {
	n.Line = 0
	for _, c := range n.Content {
		clearLines(c)
	}
}

func everySecond(c []*yaml.Node) []*yaml.Node {
	out := make([]*yaml.Node, 0, len(c)/2)
	for i := 0; i+1 < len(c); i += 2 {
		out = append(out, c[i])
	}
	return out
}

func put(n *yaml.Node, at int, key string, v *yaml.Node) {
	if at >= 0 {
		n.Content[2*at+1] = v
		return
	}
	n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, v)
}

func kindName(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	}
	return strconv.Quote(n.Value)
}
