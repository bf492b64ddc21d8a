package extension

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// values turns configuration settings ("scoringFe.serviceType.nodePort": "True") into chart values over the given
// defaults. A dot separates levels and "\." stands for a dot in a name; below nodeSelector everything is one name, because
// label keys have dots. Values stay strings.
func values(defaults map[string]any, settings, protected map[string]string) (map[string]any, error) {
	out := clone(defaults)
	all := maps.Clone(settings)
	if all == nil {
		all = map[string]string{}
	}
	for key, value := range protected {
		if _, twice := all[key]; twice {
			return nil, fmt.Errorf("Duplicate keys found. Setting %q is in both configurationSettings and configurationProtectedSettings; keep one", key) //nolint:staticcheck // begins as the reference's text does
		}
		all[key] = value
	}
	given := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		path, err := splitKey(key)
		if err != nil {
			return nil, fmt.Errorf("setting %q: %w", key, err)
		}
		if err := set(given, path, all[key]); err != nil {
			return nil, fmt.Errorf("setting %q: %w", key, err)
		}
	}
	merge(out, given)
	return out, nil
}

// splitKey splits a setting's key into the names of its levels.
func splitKey(key string) ([]string, error) {
	var path []string
	var name strings.Builder
	for i := 0; i < len(key); i++ {
		switch {
		case key[i] == '\\' && i+1 < len(key) && key[i+1] == '.':
			name.WriteByte('.')
			i++
		case key[i] == '.' && (len(path) == 0 || path[0] != "nodeSelector"):
			path = append(path, name.String())
			name.Reset()
		default:
			name.WriteByte(key[i])
		}
	}
	path = append(path, name.String())
	if slices.Contains(path, "") {
		return nil, errors.New(`a part of the key is empty; separate levels by one dot, and write "\." for a dot in a name`)
	}
	return path, nil
}

func set(values map[string]any, path []string, value string) error {
	for i, name := range path[:len(path)-1] {
		next, ok := values[name]
		if !ok {
			next = map[string]any{}
			values[name] = next
		}
		level, ok := next.(map[string]any)
		if !ok {
			return fmt.Errorf("setting %q has a value of its own; give either it or settings below it", strings.Join(path[:i+1], "."))
		}
		values = level
	}
	last := path[len(path)-1]
	if _, taken := values[last]; taken {
		return fmt.Errorf("setting %q is given twice, or has settings below it", strings.Join(path, "."))
	}
	values[last] = value
	return nil
}

// merge writes from over into, level by level; a value of from wins.
func merge(into, from map[string]any) {
	for name, value := range from {
		below, isMap := value.(map[string]any)
		old, wasMap := into[name].(map[string]any)
		if isMap && wasMap {
			merge(old, below)
			continue
		}
		into[name] = value
	}
}

func clone(values map[string]any) map[string]any {
	out := make(map[string]any, len(values))
	for name, value := range values {
		if below, ok := value.(map[string]any); ok {
			value = clone(below)
		}
		out[name] = value
	}
	return out
}
