package types

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// location fills in a missing location from the resource group.
func location(ctx context.Context, p *resource.Put) error {
	if v, ok := p.Body["location"]; ok {
		s, isString := v.(string)
		if !isString && v != nil {
			return arm.Invalid("location", "location is %s; it must be a string.", jsonKind(v))
		}
		if s != "" {
			return nil
		}
	}
	loc := defaultLocation
	group := arm.ID{Subscription: p.ID.Subscription, ResourceGroup: p.ID.ResourceGroup}
	rec, err := p.Tx.Get(ctx, group.Key())
	switch {
	case err == nil:
		if s := topString(rec, "location"); s != "" {
			loc = s
		}
	case !errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("reading resource group %s: %w", group.ResourceGroup, err)
	}
	p.Body["location"] = loc
	return nil
}

// defaultLocation is where things are when nobody said where.
const defaultLocation = "local"

// workspaceOf is the id of the workspace that a resource is in.
func workspaceOf(id arm.ID) arm.ID { return topLevel(id) }

// topLevel is the id of the resource in a group that a resource is in, or is.
func topLevel(id arm.ID) arm.ID {
	seg := id.Segments[0]
	return arm.ID{Subscription: id.Subscription, ResourceGroup: id.ResourceGroup,
		Segments: []arm.Segment{{Namespace: seg.Namespace, Types: seg.Types[:1], Names: seg.Names[:1]}}}
}

// mlType is a full type of the machine learning namespace, lower case.
func mlType(name string) string { return strings.ToLower(nsML + "/" + name) }

func ignoreNotFound(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
