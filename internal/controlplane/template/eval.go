package template

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/nearest"
)

// budget is how much all evaluation of one deployment may produce, in bytes or so: variables that double each other grow fast. effort
// is how much it may look at, which bounds the time to seconds: a deployment is admitted within the store's only writing transaction,
// so that all other writes wait meanwhile. A step costs something even when it has nothing to look at, and what is in arrays and objects
// costs more than a text of that size.
const (
	budget = 16 << 20
	effort = 256 << 20
	step   = 256
	within = 16
)

// errLater says that an expression asks a Runtime, which is not there yet.
var errLater = errors.New("known only once other resources are there")

// env is what expressions see.
type env struct {
	d *Deployment
	// copies are the indexes of copy loops around the expression, the innermost last.
	copies []copyIndex
	// inParameter: newGuid and utcNow are allowed in defaults of parameters only.
	inParameter bool
	runtime     Runtime
}

type copyIndex struct {
	name  string
	index int64
}

// value evaluates every expression in a JSON value; where names the place in errors. It goes on after errLater, to find all that
// is asked of a Runtime.
func (e env) value(where string, v any) (any, error) {
	if err := e.spend(step + len(where)); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case string:
		if err := e.spend(len(v)); err != nil {
			return nil, err
		}
		return e.text(where, v)
	case []any:
		out := make([]any, len(v))
		var later error
		for i, x := range v {
			var err error
			if out[i], err = e.value(fmt.Sprintf("%s[%d]", where, i), x); errors.Is(err, errLater) {
				later = err
			} else if err != nil {
				return nil, err
			}
		}
		return out, later
	case map[string]any:
		return e.object(where, v)
	}
	return v, nil
}

// object evaluates an object, names of properties and copies of properties included.
func (e env) object(where string, m map[string]any) (any, error) {
	out := make(map[string]any, len(m))
	var later error
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if loops, ok := m[k].([]any); ok && k == "copy" && isPropertyCopy(loops) {
			if err := e.copyInto(out, where, loops); err != nil {
				return nil, err
			}
			continue
		}
		key, err := e.value(where, k)
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok {
			return nil, fmt.Errorf("%s: the name %s of a property is no text", where, k)
		}
		if out[name], err = e.value(where+"."+name, m[k]); errors.Is(err, errLater) {
			later = err
		} else if err != nil {
			return nil, err
		}
	}
	return out, later
}

func isPropertyCopy(loops []any) bool {
	return len(loops) > 0 && !slices.ContainsFunc(loops, func(l any) bool {
		m, ok := l.(map[string]any)
		_, input := m["input"]
		return !ok || m["name"] == nil || m["count"] == nil || !input
	})
}

func (e env) text(where, s string) (any, error) {
	if !isExpression(s) {
		return strings.Replace(s, "[[", "[", boolInt(strings.HasPrefix(s, "[["))), nil
	}
	n, err := parse(s[1 : len(s)-1])
	if err == nil {
		var v any
		if v, err = e.eval(n); err == nil {
			return v, nil
		}
	}
	if errors.Is(err, errLater) {
		return nil, errLater
	}
	return nil, fmt.Errorf("%s: %w", where, err)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (e env) eval(n node) (any, error) {
	if err := e.spend(step); err != nil {
		return nil, err
	}
	switch n := n.(type) {
	case literal:
		return n.value, nil
	case access:
		return e.access(n)
	case call:
		return e.call(n)
	}
	return nil, fmt.Errorf("bug: node %T", n)
}

func (e env) access(n access) (any, error) {
	of, err := e.eval(n.of)
	if err != nil {
		return nil, err
	}
	key, err := e.eval(n.key)
	if err != nil {
		return nil, err
	}
	switch of := of.(type) {
	case map[string]any:
		name, ok := key.(string)
		if !ok {
			return nil, fmt.Errorf("a property's name must be a string, not %s", kindOf(key))
		}
		if err := e.spend(within * len(of)); err != nil { // the case of a name does not matter
			return nil, err
		}
		if v, ok := find(of, name); ok {
			return v, nil
		}
		return nil, fmt.Errorf("there is no property '%s'; there are: %s", name, strings.Join(slices.Sorted(maps.Keys(of)), ", "))
	case []any:
		i, ok := key.(int64)
		if !ok {
			return nil, fmt.Errorf("an array's index must be an int, not %s", kindOf(key))
		}
		if i < 0 || i >= int64(len(of)) {
			return nil, fmt.Errorf("the array has %d elements; there is none at %d", len(of), i)
		}
		return of[i], nil
	}
	return nil, fmt.Errorf("%s has no properties or elements", kindOf(of))
}

func (e env) call(c call) (any, error) {
	name := strings.ToLower(c.name)
	if lazy, ok := lazies[name]; ok {
		return lazy(e, c.args)
	}
	f, ok := functions[name]
	if !ok && strings.HasPrefix(name, "list") {
		f, ok = function{least: 2, most: 3, run: func(e env, args []any) (any, error) { return e.list(c.name, args) }}, true
	}
	if !ok {
		return nil, unknown("function", c.name, slices.Collect(maps.Keys(functions)))
	}
	if len(c.args) < f.least || f.most >= 0 && len(c.args) > f.most {
		return nil, fmt.Errorf("%s takes %s, not %d", c.name, f.count(), len(c.args))
	}
	args := make([]any, len(c.args))
	for i, a := range c.args {
		var err error
		if args[i], err = e.eval(a); err != nil {
			return nil, err
		}
	}
	if !f.free {
		if err := e.afford(f, args); err != nil {
			return nil, err
		}
	}
	v, err := f.run(e, args)
	if err != nil {
		if errors.Is(err, errLater) {
			return nil, err
		}
		return nil, fmt.Errorf("%s: %w", c.name, err)
	}
	if f.free {
		return v, nil
	}
	return v, e.charge(v)
}

// afford takes what a function looks at from the effort, and refuses one whose result would be too large before it is made.
func (e env) afford(f function, args []any) error {
	looks := 0
	for _, a := range args {
		w := weigh(a, 2*budget)
		looks += w
		if _, ok := a.(string); !ok {
			w *= within
		}
		if f.dear {
			w *= 4
		}
		if err := e.spend(w); err != nil {
			return err
		}
	}
	if looks > 2*budget || f.size != nil && f.size(args) > e.d.left {
		return tooMuch()
	}
	return nil
}

// spend takes from the effort.
func (e env) spend(looks int) error {
	if e.d.effort -= looks; e.d.effort < 0 {
		return fmt.Errorf("evaluating the template takes looking at more than %d MiB of values", effort>>20)
	}
	return nil
}

func tooMuch() error {
	return fmt.Errorf("the template makes more than %d MiB of values", budget>>20)
}

// charge takes what a value needs from the budget.
func (e env) charge(v any) error {
	if e.d.left -= weigh(v, e.d.left); e.d.left < 0 {
		return tooMuch()
	}
	return nil
}

func unknown(what, name string, known []string) error {
	slices.Sort(known)
	if near := nearest.Word(name, known); near != "" {
		return fmt.Errorf("there is no %s '%s'; did you mean '%s'?", what, name, near)
	}
	return fmt.Errorf("there is no %s '%s'; there are: %s", what, name, strings.Join(known, ", "))
}

// copyInto expands "copy": [{name, count, input}], each to an array of that name.
func (e env) copyInto(out map[string]any, where string, loops []any) error {
	for _, l := range loops {
		loop, _ := l.(map[string]any)
		name, _ := loop["name"].(string)
		at := where + ".copy['" + name + "']"
		n, err := e.count(at, loop["count"])
		if err != nil {
			return err
		}
		list := make([]any, n)
		for i := range list {
			if list[i], err = e.inCopy(name, int64(i)).value(at, loop["input"]); err != nil {
				return err
			}
		}
		out[name] = list
	}
	return nil
}

func (e env) inCopy(name string, i int64) env {
	e.copies = append(slices.Clip(slices.Clone(e.copies)), copyIndex{name, i})
	return e
}

// maxCopies is how often a loop may run, and how many resources a template may have.
const maxCopies = 800

func (e env) count(where string, v any) (int64, error) {
	v, err := e.value(where+".count", v)
	if err != nil {
		if errors.Is(err, errLater) {
			return 0, fmt.Errorf("%s.count must not depend on other resources", where)
		}
		return 0, err
	}
	n, ok := v.(int64)
	if !ok || n < 0 || n > maxCopies {
		return 0, fmt.Errorf("%s.count is %s; it must be an int from 0 to %d", where, text(v), maxCopies)
	}
	return n, nil
}
