package resource

import (
	"fmt"
	"sort"
	"strings"
)

// Registry holds every type the control plane knows.
type Registry struct{ types map[string]*Type }

// NewRegistry registers the given types; a type given twice is a bug in the program and panics.
func NewRegistry(types ...*Type) *Registry {
	r := &Registry{types: make(map[string]*Type, len(types))}
	for _, t := range types {
		key := t.FullType()
		if _, dup := r.types[key]; dup {
			panic(fmt.Sprintf("resource: type %s registered twice", key))
		}
		r.types[key] = t
	}
	return r
}

// Lookup finds a type by its full name in any case.
func (r *Registry) Lookup(fullType string) (*Type, bool) {
	t, ok := r.types[lower(fullType)]
	return t, ok
}

// All returns the types by full name.
func (r *Registry) All() []*Type {
	out := make([]*Type, 0, len(r.types))
	for _, t := range r.types {
		out = append(out, t)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].FullType() < out[j].FullType() })
	return out
}

func lower(s string) string { return strings.ToLower(s) }
