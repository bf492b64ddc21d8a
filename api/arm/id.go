// Package arm holds the resource manager's common wire types: resource ids, the resource envelope, errors and operations.
package arm

import (
	"fmt"
	"strings"
)

// ID is a parsed resource id. It keeps the case it was given; Key is the form to compare and store.
//
//	/subscriptions/S/resourceGroups/G/providers/NS/type/name[/type/name…][/providers/NS2/type/name…]
type ID struct {
	Subscription  string
	ResourceGroup string
	// Segments are the provider segments in order; empty for a subscription or a resource group.
	Segments []Segment
}

// Segment is one /providers/Namespace/type/name[/type/name…] run.
type Segment struct {
	Namespace string
	// Types and Names have the same length.
	Types, Names []string
}

// ParseID reads an id. A leading slash may be missing, as in the reference's own examples. It refuses empty, "." and ".."
// segments, control characters, percent signs, backslashes and more than 2048 bytes.
func ParseID(s string) (ID, error) {
	if len(s) > 2048 {
		return ID{}, fmt.Errorf("resource id: %d bytes long; at most 2048 are allowed", len(s))
	}
	parts := strings.Split(strings.TrimSuffix(strings.TrimPrefix(s, "/"), "/"), "/")
	for _, p := range parts {
		if err := checkPart(p); err != nil {
			return ID{}, fmt.Errorf("resource id %q: %w", s, err)
		}
	}
	if len(parts) < 2 || !strings.EqualFold(parts[0], "subscriptions") {
		return ID{}, fmt.Errorf("resource id %q: must begin with /subscriptions/<id>", s)
	}
	id := ID{Subscription: parts[1]}
	parts = parts[2:]
	if len(parts) >= 2 && strings.EqualFold(parts[0], "resourceGroups") {
		id.ResourceGroup = parts[1]
		parts = parts[2:]
	}
	for len(parts) > 0 {
		seg, rest, err := parseSegment(parts)
		if err != nil {
			return ID{}, fmt.Errorf("resource id %q: %w", s, err)
		}
		id.Segments = append(id.Segments, seg)
		parts = rest
	}
	return id, nil
}

func parseSegment(parts []string) (Segment, []string, error) {
	if !strings.EqualFold(parts[0], "providers") {
		return Segment{}, nil, fmt.Errorf("%q found where \"providers\" belongs", parts[0])
	}
	if len(parts) < 4 {
		return Segment{}, nil, fmt.Errorf("incomplete after providers; want /providers/<namespace>/<type>/<name>")
	}
	seg := Segment{Namespace: parts[1]}
	parts = parts[2:]
	for len(parts) > 0 && !strings.EqualFold(parts[0], "providers") {
		if len(parts) == 1 {
			return Segment{}, nil, fmt.Errorf("type %q has no name after it", parts[0])
		}
		seg.Types = append(seg.Types, parts[0])
		seg.Names = append(seg.Names, parts[1])
		parts = parts[2:]
	}
	if len(seg.Types) == 0 {
		return Segment{}, nil, fmt.Errorf("no type after /providers/%s", seg.Namespace)
	}
	return seg, parts, nil
}

func checkPart(p string) error {
	if p == "" || p == "." || p == ".." {
		return fmt.Errorf("segment %q is not allowed", p)
	}
	for _, r := range p {
		if r < 0x20 || r == 0x7f || r == '%' || r == '\\' || r == '?' || r == '#' {
			return fmt.Errorf("segment %q has a character that is not allowed: %q", p, r)
		}
	}
	return nil
}

// MustParseID is ParseID for ids known to be right.
func MustParseID(s string) ID {
	id, err := ParseID(s)
	if err != nil {
		panic(err)
	}
	return id
}

// String is the id in the case it was given.
func (id ID) String() string {
	var b strings.Builder
	b.WriteString("/subscriptions/" + id.Subscription)
	if id.ResourceGroup != "" {
		b.WriteString("/resourceGroups/" + id.ResourceGroup)
	}
	for _, s := range id.Segments {
		b.WriteString("/providers/" + s.Namespace)
		for i := range s.Types {
			b.WriteString("/" + s.Types[i] + "/" + s.Names[i])
		}
	}
	return b.String()
}

// Key is the lower-case id: ids are compared without regard to case.
func (id ID) Key() string { return strings.ToLower(id.String()) }

// Name is the last name.
func (id ID) Name() string {
	if n := len(id.Segments); n > 0 {
		names := id.Segments[n-1].Names
		return names[len(names)-1]
	}
	if id.ResourceGroup != "" {
		return id.ResourceGroup
	}
	return id.Subscription
}

// Type is the full type of the last provider segment, e.g. Microsoft.MachineLearningServices/workspaces/jobs;
// Microsoft.Resources/resourceGroups and Microsoft.Resources/subscriptions above it.
func (id ID) Type() string {
	if n := len(id.Segments); n > 0 {
		s := id.Segments[n-1]
		return s.Namespace + "/" + strings.Join(s.Types, "/")
	}
	if id.ResourceGroup != "" {
		return "Microsoft.Resources/resourceGroups"
	}
	return "Microsoft.Resources/subscriptions"
}

// Parent is the resource that this one is nested in: the parent type's resource, the extended resource, the resource
// group or the subscription; ok is false for a subscription.
func (id ID) Parent() (parent ID, ok bool) {
	n := len(id.Segments)
	switch {
	case n == 0 && id.ResourceGroup == "":
		return ID{}, false
	case n == 0:
		return ID{Subscription: id.Subscription}, true
	}
	p := ID{Subscription: id.Subscription, ResourceGroup: id.ResourceGroup}
	p.Segments = append(p.Segments, id.Segments[:n-1]...)
	last := id.Segments[n-1]
	if k := len(last.Types); k > 1 {
		p.Segments = append(p.Segments, Segment{Namespace: last.Namespace, Types: last.Types[:k-1], Names: last.Names[:k-1]})
	}
	return p, true
}

// Child is a resource nested in this one by type and name.
func (id ID) Child(typ, name string) ID {
	c := ID{Subscription: id.Subscription, ResourceGroup: id.ResourceGroup}
	c.Segments = append(c.Segments, id.Segments...)
	if n := len(c.Segments); n > 0 {
		s := c.Segments[n-1]
		c.Segments[n-1] = Segment{
			Namespace: s.Namespace,
			Types:     append(append([]string{}, s.Types...), typ),
			Names:     append(append([]string{}, s.Names...), name),
		}
	}
	return c
}
