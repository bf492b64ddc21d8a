package template

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// function is one that expressions may call. Most is -1 for any number of arguments.
type function struct {
	least, most int
	run         func(e env, args []any) (any, error)
	// size is about how large the result will be, where that may be much more than the arguments; nil where it may not.
	size func(args []any) int
	// dear functions write each element of their arguments, which takes much longer than to look at it.
	dear bool
	// free functions hand out what is there already and cost nothing.
	free bool
}

func (f function) count() string {
	switch {
	case f.most < 0:
		return fmt.Sprintf("%d or more arguments", f.least)
	case f.least == f.most:
		return fmt.Sprintf("%d arguments", f.least)
	}
	return fmt.Sprintf("%d to %d arguments", f.least, f.most)
}

// functions by lower-case name.
var functions map[string]function

// lazies evaluate only those of their arguments that count.
var lazies map[string]func(e env, args []node) (any, error)

func init() {
	functions = map[string]function{}
	for _, table := range []map[string]function{deploymentFunctions, logicFunctions, numberFunctions, listFunctions, textFunctions} {
		maps.Copy(functions, table)
	}
	lazies = map[string]func(e env, args []node) (any, error){"if": ifElse, "and": junction(false), "or": junction(true), "coalesce": coalesce}
}

func ifElse(e env, args []node) (any, error) {
	if len(args) != 3 {
		return nil, fmt.Errorf("if takes 3 arguments, not %d", len(args))
	}
	yes, err := e.boolean("if", args[0])
	if err != nil {
		return nil, err
	}
	if yes {
		return e.eval(args[1])
	}
	return e.eval(args[2])
}

func (e env) boolean(of string, n node) (bool, error) {
	v, err := e.eval(n)
	if err != nil {
		return false, err
	}
	yes, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("%s: a bool is needed, not %s", of, kindOf(v))
	}
	return yes, nil
}

// junction is and, or or: the first argument that decides ends it.
func junction(decides bool) func(e env, args []node) (any, error) {
	name := "and"
	if decides {
		name = "or"
	}
	return func(e env, args []node) (any, error) {
		for _, a := range args {
			if v, err := e.boolean(name, a); err != nil || v == decides {
				return decides, err
			}
		}
		return !decides, nil
	}
}

func coalesce(e env, args []node) (any, error) {
	for _, a := range args {
		if v, err := e.eval(a); err != nil || v != nil {
			return v, err
		}
	}
	return nil, nil
}

// arg is an argument of a certain kind.
func arg[T any](args []any, i int) (T, error) {
	v, ok := args[i].(T)
	if !ok {
		return v, fmt.Errorf("argument %d must be of type %s, not %s", i+1, kindOf(any(v)), kindOf(args[i]))
	}
	return v, nil
}

// one and two make functions of arguments of one kind.
func one[A any](f func(A) (any, error)) function {
	return function{least: 1, most: 1, run: func(_ env, args []any) (any, error) {
		a, err := arg[A](args, 0)
		if err != nil {
			return nil, err
		}
		return f(a)
	}}
}

func two[A, B any](f func(A, B) (any, error)) function {
	return function{least: 2, most: 2, run: func(_ env, args []any) (any, error) {
		a, err := arg[A](args, 0)
		if err != nil {
			return nil, err
		}
		b, err := arg[B](args, 1)
		if err != nil {
			return nil, err
		}
		return f(a, b)
	}}
}

func constant(v any) function {
	return function{run: func(env, []any) (any, error) { return v, nil }}
}

var logicFunctions = map[string]function{
	"true": constant(true), "false": constant(false), "null": constant(nil),
	"not": one(func(b bool) (any, error) { return !b, nil }),
	"equals": {least: 2, most: 2, run: func(_ env, a []any) (any, error) {
		return same(a[0], a[1]), nil
	}},
	"less":            compare(func(n int) bool { return n < 0 }),
	"lessorequals":    compare(func(n int) bool { return n <= 0 }),
	"greater":         compare(func(n int) bool { return n > 0 }),
	"greaterorequals": compare(func(n int) bool { return n >= 0 }),
	"bool": {least: 1, most: 1, run: func(_ env, a []any) (any, error) {
		switch v := a[0].(type) {
		case bool:
			return v, nil
		case int64:
			return v != 0, nil
		case string:
			if strings.EqualFold(v, "true") || strings.EqualFold(v, "false") || v == "1" || v == "0" {
				return v == "1" || strings.EqualFold(v, "true"), nil
			}
		}
		return nil, fmt.Errorf("the %s is neither true nor false", kindOf(a[0]))
	}},
}

func compare(ok func(int) bool) function {
	return function{least: 2, most: 2, run: func(_ env, args []any) (any, error) {
		switch a := args[0].(type) {
		case int64:
			b, err := arg[int64](args, 1)
			return ok(cmp.Compare(a, b)), err
		case string:
			b, err := arg[string](args, 1)
			return ok(strings.Compare(a, b)), err
		}
		return nil, fmt.Errorf("argument 1 must be an int or a string, not %s", kindOf(args[0]))
	}}
}

var numberFunctions = map[string]function{
	"add": two(func(a, b int64) (any, error) { return a + b, nil }),
	"sub": two(func(a, b int64) (any, error) { return a - b, nil }),
	"mul": two(func(a, b int64) (any, error) { return a * b, nil }),
	"div": two(func(a, b int64) (any, error) {
		if b == 0 {
			return nil, errors.New("division by 0")
		}
		return a / b, nil
	}),
	"mod": two(func(a, b int64) (any, error) {
		if b == 0 {
			return nil, errors.New("division by 0")
		}
		return a % b, nil
	}),
	"int": {least: 1, most: 1, run: func(_ env, a []any) (any, error) {
		if n, ok := a[0].(int64); ok {
			return n, nil
		}
		var n int64
		if s, ok := a[0].(string); ok && json.Unmarshal([]byte(strings.TrimSpace(s)), &n) == nil {
			return n, nil
		}
		return nil, fmt.Errorf("the %s is no whole number", kindOf(a[0]))
	}},
	"min": extreme(func(a, b int64) int64 { return min(a, b) }),
	"max": extreme(func(a, b int64) int64 { return max(a, b) }),
}

// extreme takes numbers, or one array of them.
func extreme(pick func(a, b int64) int64) function {
	return function{least: 1, most: -1, run: func(_ env, args []any) (any, error) {
		if list, ok := args[0].([]any); ok && len(args) == 1 {
			args = list
		}
		if len(args) == 0 {
			return nil, errors.New("there are no numbers")
		}
		best, err := arg[int64](args, 0)
		for i := 1; i < len(args) && err == nil; i++ {
			var n int64
			if n, err = arg[int64](args, i); err == nil {
				best = pick(best, n)
			}
		}
		return best, err
	}}
}

var listFunctions = map[string]function{
	"array": {least: 1, most: 1, run: func(_ env, a []any) (any, error) {
		if list, ok := a[0].([]any); ok {
			return list, nil
		}
		return []any{a[0]}, nil
	}},
	"createarray": {most: -1, run: func(_ env, a []any) (any, error) { return slices.Clone(a), nil }},
	"createobject": {most: -1, run: func(_ env, a []any) (any, error) {
		if len(a)%2 != 0 {
			return nil, errors.New("names and values come in pairs")
		}
		out := map[string]any{}
		for i := 0; i < len(a); i += 2 {
			k, err := arg[string](a, i)
			if err != nil {
				return nil, err
			}
			out[k] = a[i+1]
		}
		return out, nil
	}},
	"length": {least: 1, most: 1, run: func(_ env, a []any) (any, error) {
		n, err := size(a[0])
		return int64(n), err
	}},
	"empty": {least: 1, most: 1, run: func(_ env, a []any) (any, error) {
		if a[0] == nil {
			return true, nil
		}
		n, err := size(a[0])
		return n == 0, err
	}},
	"contains":     {least: 2, most: 2, run: contains},
	"first":        {least: 1, most: 1, run: func(_ env, a []any) (any, error) { return end(a[0], true) }},
	"last":         {least: 1, most: 1, run: func(_ env, a []any) (any, error) { return end(a[0], false) }},
	"union":        {least: 2, most: -1, run: union, dear: true},
	"intersection": {least: 2, most: -1, run: intersection, dear: true},
	"skip":         {least: 2, most: 2, run: func(_ env, a []any) (any, error) { return part(a, true) }},
	"take":         {least: 2, most: 2, run: func(_ env, a []any) (any, error) { return part(a, false) }},
	"range": two(func(from, n int64) (any, error) {
		if n < 0 || n > 10000 {
			return nil, fmt.Errorf("the count is %d; it must be from 0 to 10000", n)
		}
		out := make([]any, n)
		for i := range out {
			out[i] = from + int64(i)
		}
		return out, nil
	}),
	"items": one(func(m map[string]any) (any, error) {
		out := []any{}
		for _, k := range slices.Sorted(maps.Keys(m)) {
			out = append(out, map[string]any{"key": k, "value": m[k]})
		}
		return out, nil
	}),
	"flatten": one(func(list []any) (any, error) {
		out := []any{}
		for i := range list {
			in, err := arg[[]any](list, i)
			if err != nil {
				return nil, err
			}
			out = append(out, in...)
		}
		return out, nil
	}),
	"json": one(func(s string) (any, error) { return decode(json.RawMessage(s)) }),
}

func size(v any) (int, error) {
	switch v := v.(type) {
	case string:
		return len([]rune(v)), nil
	case []any:
		return len(v), nil
	case map[string]any:
		return len(v), nil
	}
	return 0, fmt.Errorf("argument 1 must be a string, an array or an object, not %s", kindOf(v))
}

func contains(_ env, a []any) (any, error) {
	switch in := a[0].(type) {
	case string:
		return strings.Contains(in, text(a[1])), nil
	case []any:
		return slices.ContainsFunc(in, func(v any) bool { return same(v, a[1]) }), nil
	case map[string]any:
		_, ok := find(in, text(a[1]))
		return ok, nil
	}
	return nil, fmt.Errorf("argument 1 must be a string, an array or an object, not %s", kindOf(a[0]))
}

// end is the first or last element or character.
func end(v any, first bool) (any, error) {
	switch v := v.(type) {
	case []any:
		if len(v) == 0 {
			return nil, nil
		}
		if first {
			return v[0], nil
		}
		return v[len(v)-1], nil
	case string:
		r := []rune(v)
		if len(r) == 0 {
			return "", nil
		}
		if first {
			return string(r[:1]), nil
		}
		return string(r[len(r)-1:]), nil
	}
	return nil, fmt.Errorf("argument 1 must be an array or a string, not %s", kindOf(v))
}

// part leaves out, or takes, the first n.
func part(a []any, skip bool) (any, error) {
	n, err := arg[int64](a, 1)
	if err != nil {
		return nil, err
	}
	cut := func(length int) int { return int(max(0, min(n, int64(length)))) }
	switch v := a[0].(type) {
	case []any:
		if at := cut(len(v)); skip {
			return slices.Clone(v[at:]), nil
		} else {
			return slices.Clone(v[:at]), nil
		}
	case string:
		r := []rune(v)
		if at := cut(len(r)); skip {
			return string(r[at:]), nil
		} else {
			return string(r[:at]), nil
		}
	}
	return nil, fmt.Errorf("argument 1 must be an array or a string, not %s", kindOf(a[0]))
}

// union joins arrays without repeating, or objects deeply; later ones win.
func union(_ env, a []any) (any, error) {
	if _, ok := a[0].(map[string]any); ok {
		var out any = map[string]any{}
		for i := range a {
			m, err := arg[map[string]any](a, i)
			if err != nil {
				return nil, err
			}
			out = merge(out, m)
		}
		return out, nil
	}
	out, has := []any{}, map[string]bool{}
	for i := range a {
		list, err := arg[[]any](a, i)
		if err != nil {
			return nil, err
		}
		for _, v := range list {
			if id := identity(v); !has[id] {
				out, has[id] = append(out, v), true
			}
		}
	}
	return out, nil
}

// identity is a text that two values have in common when they are the same.
func identity(v any) string { return kindOf(v) + text(v) }

func merge(a, b any) any {
	am, ok1 := a.(map[string]any)
	bm, ok2 := b.(map[string]any)
	if !ok1 || !ok2 {
		return b
	}
	out := maps.Clone(am)
	for k, v := range bm {
		out[k] = merge(out[k], v)
	}
	return out
}

func intersection(_ env, a []any) (any, error) {
	if first, ok := a[0].(map[string]any); ok {
		out := maps.Clone(first)
		for i := range a {
			m, err := arg[map[string]any](a, i)
			if err != nil {
				return nil, err
			}
			maps.DeleteFunc(out, func(k string, v any) bool { o, ok := m[k]; return !ok || !same(o, v) })
		}
		return out, nil
	}
	first, err := arg[[]any](a, 0)
	if err != nil {
		return nil, err
	}
	out := slices.Clone(first)
	for i := range a {
		list, err := arg[[]any](a, i)
		if err != nil {
			return nil, err
		}
		has := map[string]bool{}
		for _, v := range list {
			has[identity(v)] = true
		}
		out = slices.DeleteFunc(out, func(v any) bool { return !has[identity(v)] })
	}
	return out, nil
}
