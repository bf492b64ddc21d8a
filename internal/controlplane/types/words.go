package types

import (
	"maps"
	"slices"
	"strings"
)

// keys are a map's keys, sorted.
func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func contains(list []string, s string) bool { return slices.Contains(list, s) }

// oneOf lists words for an error message.
func oneOf(words []string, more ...string) string {
	all := append(slices.Clone(words), more...)
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}
