package spec

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"fairlead.dev/fairlead/internal/nearest"
)

// setter reads one value into its place.
type setter func(d *decoder, n *yaml.Node, path string)

// fields are the known keys of a mapping.
type fields map[string]setter

type decoder struct {
	file     string
	problems Problems
	warnings Problems
}

func (d *decoder) fail(n *yaml.Node, format string, args ...any) {
	line := 0
	if n != nil {
		line = n.Line
	}
	d.problems = append(d.problems, Problem{d.file, line, fmt.Sprintf(format, args...)})
}

func (d *decoder) warn(n *yaml.Node, format string, args ...any) {
	d.warnings = append(d.warnings, Problem{d.file, n.Line, fmt.Sprintf(format, args...)})
}

func (d *decoder) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	sort.SliceStable(d.problems, func(i, j int) bool { return d.problems[i].Line < d.problems[j].Line })
	if len(d.problems) > 20 {
		d.problems = d.problems[:20]
	}
	return d.problems
}

type pair struct{ key, value *yaml.Node }

// pairs gives a mapping's entries with merge keys (<<) resolved and repeated keys reported.
func (d *decoder) pairs(n *yaml.Node, path string, depth int) []pair {
	n = resolve(n)
	if n == nil || n.Kind != yaml.MappingNode || depth > 8 {
		d.fail(n, "%s: must be a mapping of keys to values", orFile(path))
		return nil
	}
	var own, merged []pair
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Tag == "!!merge" {
			merged = append(merged, d.pairs(v, path, depth+1)...)
			continue
		}
		if k.Kind != yaml.ScalarNode {
			d.fail(k, "%s: a key must be a plain word, not %s", orFile(path), kindName(k))
			continue
		}
		if seen[k.Value] {
			d.fail(k, "%s: key given twice", join(path, k.Value))
			continue
		}
		seen[k.Value] = true
		own = append(own, pair{k, v})
	}
	for _, p := range merged {
		if !seen[p.key.Value] {
			seen[p.key.Value] = true
			own = append(own, p)
		}
	}
	return own
}

func (d *decoder) object(n *yaml.Node, path string, known fields) {
	for _, p := range d.pairs(n, path, 0) {
		set, ok := known[p.key.Value]
		if !ok {
			d.unknown(p.key, path, known)
			continue
		}
		if v := resolve(p.value); v != nil && v.Tag != "!!null" {
			set(d, v, join(path, p.key.Value))
		}
	}
}

func (d *decoder) unknown(key *yaml.Node, path string, known fields) {
	names := make([]string, 0, len(known))
	for k := range known {
		names = append(names, k)
	}
	sort.Strings(names)
	where := ""
	if path != "" {
		where = " in " + path
	}
	if near := nearest.Word(key.Value, names); near != "" {
		d.fail(key, "unknown key %q%s; did you mean %q?", key.Value, where, near)
		return
	}
	d.fail(key, "unknown key %q%s; known keys: %s", key.Value, where, strings.Join(names, ", "))
}

func resolve(n *yaml.Node) *yaml.Node {
	for i := 0; n != nil && n.Kind == yaml.AliasNode; i++ {
		if i > 8 {
			return nil
		}
		n = n.Alias
	}
	return n
}

func orFile(path string) string {
	if path == "" {
		return "file"
	}
	return path
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func text(out *string) setter {
	return func(d *decoder, n *yaml.Node, path string) {
		if n.Kind != yaml.ScalarNode {
			d.fail(n, "%s: must be text, not %s", path, kindName(n))
			return
		}
		*out = n.Value
	}
}

func choice(out *string, allowed ...string) setter {
	return func(d *decoder, n *yaml.Node, path string) {
		for _, a := range allowed {
			if n.Kind == yaml.ScalarNode && strings.EqualFold(a, n.Value) {
				*out = a
				return
			}
		}
		d.fail(n, "%s: %s is not one of %s", path, kindName(n), strings.Join(allowed, ", "))
	}
}

// choiceBut is choice of words among which are some that the reference has and this release does not serve: refused tells what to
// give instead.
func choiceBut(out *string, refused map[string]string, allowed ...string) setter {
	return func(d *decoder, n *yaml.Node, path string) {
		if n.Kind == yaml.ScalarNode {
			if help, known := refused[strings.ToLower(n.Value)]; known {
				d.fail(n, "%s: not supported yet: %s; %s", path, n.Value, help)
				return
			}
		}
		choice(out, allowed...)(d, n, path)
	}
}

// idle reads a value that has no effect in this release, and warns of that; instead is empty or what to do.
func idle(set setter, instead string) setter {
	return func(d *decoder, n *yaml.Node, path string) {
		d.warn(n, "%s: has no effect in this release%s", path, instead)
		set(d, n, path)
	}
}

func integer(out *int64, lowest, highest int64) setter {
	return func(d *decoder, n *yaml.Node, path string) {
		v, err := strconv.ParseInt(n.Value, 10, 64)
		if n.Kind != yaml.ScalarNode || n.Tag == "!!str" && n.Style != 0 || err != nil {
			d.fail(n, "%s: must be a whole number, not %s", path, kindName(n))
			return
		}
		if v < lowest || v > highest {
			d.fail(n, "%s: %d is out of range; must be %d to %d", path, v, lowest, highest)
			return
		}
		*out = v
	}
}

// stringMap reads a mapping of words to scalars; numbers and booleans become text as written.
func stringMap(out *map[string]string) setter {
	return func(d *decoder, n *yaml.Node, path string) {
		if n.Kind != yaml.MappingNode {
			d.fail(n, "%s: must be a mapping of names to texts, not %s", path, kindName(n))
			return
		}
		m := map[string]string{}
		for _, p := range d.pairs(n, path, 0) {
			v := resolve(p.value)
			switch {
			case v == nil:
				d.fail(p.value, "%s: an alias that leads to itself", join(path, p.key.Value))
			case v.Kind != yaml.ScalarNode:
				d.fail(p.value, "%s: must be text, not %s", join(path, p.key.Value), kindName(v))
			case v.Tag == "!!null":
				m[p.key.Value] = ""
			default:
				m[p.key.Value] = v.Value
			}
		}
		*out = m
	}
}

func textList(out *[]string) setter {
	return func(d *decoder, n *yaml.Node, path string) {
		if n.Kind == yaml.ScalarNode {
			*out = []string{n.Value}
			return
		}
		if n.Kind != yaml.SequenceNode {
			d.fail(n, "%s: must be a list, not %s", path, kindName(n))
			return
		}
		for i, c := range n.Content {
			c = resolve(c)
			if c == nil || c.Kind != yaml.ScalarNode {
				d.fail(n, "%s[%d]: must be text", path, i)
				continue
			}
			*out = append(*out, c.Value)
		}
	}
}

func object(known func() fields) setter {
	return func(d *decoder, n *yaml.Node, path string) {
		if n.Kind != yaml.MappingNode {
			d.fail(n, "%s: must be a mapping, not %s", path, kindName(n))
			return
		}
		d.object(n, path, known())
	}
}

func unsupported(what string) setter {
	return func(d *decoder, n *yaml.Node, path string) { d.fail(n, "%s: not supported yet: %s", path, what) }
}
