package filter

import (
	"cmp"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// Values is a thing that is matched in memory. What it does not have is "" with ok false.
type Values struct {
	Text   func(field store.TrackedField, key string) (value string, ok bool)
	Number func(field store.TrackedField, key string) (value float64, ok bool)
}

// tagPrompt marks a registered model that is a prompt.
const tagPrompt = "mlflow.prompt.is_prompt"

// Match reports whether a thing fulfils all conditions. What is absent fulfils none but IS NULL.
func Match(conditions []store.TrackedCondition, v Values) bool {
	return !slices.ContainsFunc(conditions, func(c store.TrackedCondition) bool { return !match(c, v) })
}

func match(c store.TrackedCondition, v Values) bool {
	if n, ok := v.Number(c.Field, c.Key); ok && c.List == nil && c.Text == "" && slices.Contains(numberOps, c.Op) {
		return holds(c.Op, cmp.Compare(n, c.Number))
	}
	text, ok := v.Text(c.Field, c.Key)
	switch {
	case c.Op == "IS NULL":
		return !ok
	case !ok && c.Op == "!=" && c.Key == tagPrompt:
		return true // clients ask so for what is no prompt
	case c.Op == "IS NOT NULL" || !ok:
		return ok
	}
	switch c.Op {
	case "LIKE":
		return like(text, c.Text)
	case "ILIKE":
		return like(strings.ToLower(text), strings.ToLower(c.Text))
	case "IN":
		return slices.Contains(c.List, text)
	case "NOT IN":
		return !slices.Contains(c.List, text)
	}
	return holds(c.Op, cmp.Compare(text, c.Text))
}

func holds(op string, order int) bool {
	switch op {
	case "=":
		return order == 0
	case "!=":
		return order != 0
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	}
	return op == ">=" && order >= 0
}

// like matches a pattern in which % is any text and _ any character, in time of the product of the lengths.
func like(text, pattern string) bool {
	t, p := []rune(text), []rune(pattern)
	i, j, star, from := 0, 0, -1, 0
	for i < len(t) {
		switch {
		case j < len(p) && p[j] == '%':
			star, from = j, i
			j++
		case j < len(p) && (p[j] == '_' || p[j] == t[i]):
			i, j = i+1, j+1
		case star >= 0:
			from++
			i, j = from, star+1
		default:
			return false
		}
	}
	for j < len(p) && p[j] == '%' {
		j++
	}
	return j == len(p)
}

// Compare orders two things by the orders; what is absent comes last in any direction.
func Compare(orders []store.TrackedOrder, a, b Values) int {
	for _, o := range orders {
		order, absent := compare(o, a, b)
		if order == 0 {
			continue
		}
		if o.Descending && !absent {
			return -order
		}
		return order
	}
	return 0
}

func compare(o store.TrackedOrder, a, b Values) (order int, absent bool) {
	x, okX := a.Number(o.Field, o.Key)
	y, okY := b.Number(o.Field, o.Key)
	if okX && okY {
		return cmp.Compare(x, y), false
	}
	s, okS := a.Text(o.Field, o.Key)
	t, okT := b.Text(o.Field, o.Key)
	switch haveA, haveB := okX || okS, okY || okT; {
	case haveA && haveB:
		return cmp.Compare(s, t), false
	case haveA:
		return -1, true
	case haveB:
		return 1, true
	}
	return 0, true
}
