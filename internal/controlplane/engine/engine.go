// Package engine applies the registry of resource types to the store: create, replace, merge, delete, read and list, each in
// one transaction with its operation and its change-log entry. It knows no HTTP; package server puts it on the wire.
package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/operation"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// Full types, in lower case, that the engine treats by name.
const (
	TypeSubscription  = "microsoft.resources/subscriptions"
	TypeResourceGroup = "microsoft.resources/resourcegroups"
	// TypeCascade is the internal type of deletions that wait for what is inside to go first.
	TypeCascade = "fairlead.internal/cascades"
)

// AnyScope in Type.Extends allows a type on every subscription, group and resource.
const AnyScope = "*"

// Engine applies types to a store.
type Engine struct {
	Store    store.Store
	Registry *resource.Registry
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Committed, when set, is told the full type of every record written or deleted, once that is durable.
	Committed func(fullType string)
}

func (e *Engine) now() time.Time {
	now := time.Now
	if e.Now != nil {
		now = e.Now
	}
	return now().UTC().Truncate(time.Microsecond)
}

func (e *Engine) committed(fullType string) {
	if e.Committed != nil {
		e.Committed(fullType)
	}
}

// TypeOf finds the registered type of an id, and checks that the type may stand where the id puts it.
func (e *Engine) TypeOf(id arm.ID) (*resource.Type, error) {
	t, ok := e.Registry.Lookup(id.Type())
	if !ok {
		return nil, e.UnknownType(id.Type())
	}
	return t, e.checkPlace(t, id)
}

// UnknownType is the error for a full type that is not registered: it says whether the namespace or only the type is unknown, and what there is.
func (e *Engine) UnknownType(full string) error {
	ns, name, _ := strings.Cut(full, "/")
	var known []string
	for _, t := range e.Registry.All() {
		if strings.EqualFold(t.Namespace, ns) {
			known = append(known, t.Name)
		}
	}
	if len(known) == 0 {
		return arm.Errorf(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%s' is invalid: no provider of that name is registered here. Registered: %s.",
			ns, strings.Join(e.Namespaces(), ", "))
	}
	return arm.Errorf(http.StatusNotFound, "InvalidResourceType", "The resource type '%s' could not be found in the namespace '%s'. The types there are: %s.",
		name, ns, strings.Join(known, ", "))
}

// Namespaces lists the providers' namespaces as the registry spells them, sorted.
func (e *Engine) Namespaces() []string {
	var out []string
	for _, t := range e.Registry.All() {
		if n := len(out); n == 0 || !strings.EqualFold(out[n-1], t.Namespace) {
			out = append(out, t.Namespace)
		}
	}
	return out
}

func (e *Engine) checkPlace(t *resource.Type, id arm.ID) error {
	n := len(id.Segments)
	if n == 0 {
		return nil
	}
	if full := t.FullType(); full == TypeSubscription || full == TypeResourceGroup {
		return arm.Errorf(http.StatusBadRequest, "InvalidResourceScope", "'%s' is no place for a subscription or a resource group.", id)
	}
	nested := n > 1
	scope := arm.ID{Subscription: id.Subscription, ResourceGroup: id.ResourceGroup, Segments: id.Segments[:n-1]}
	for _, x := range t.Extends {
		if x == AnyScope || nested && strings.EqualFold(x, scope.Type()) {
			return nil
		}
	}
	switch {
	case nested && len(t.Extends) == 0:
		return arm.Errorf(http.StatusBadRequest, "InvalidResourceScope", "The resource type '%s/%s' can't be placed on '%s'; it belongs directly in a resource group.", t.Namespace, t.Name, scope)
	case len(t.Extends) > 0:
		return arm.Errorf(http.StatusBadRequest, "InvalidResourceScope", "The resource type '%s/%s' can't be placed on '%s'; it extends: %s.", t.Namespace, t.Name, scope, strings.Join(t.Extends, ", "))
	case id.ResourceGroup == "":
		return arm.Errorf(http.StatusBadRequest, "InvalidResourceScope", "The resource type '%s/%s' needs a resource group: /subscriptions/%s/resourceGroups/<group>/providers/%s/%s/<name>.",
			t.Namespace, t.Name, id.Subscription, t.Namespace, t.Name)
	}
	return nil
}

// Get reads the record of an id; the error says which part of the id does not exist.
func (e *Engine) Get(ctx context.Context, r store.Reader, id arm.ID) (store.Record, error) {
	rec, err := r.Get(ctx, id.Key())
	if errors.Is(err, store.ErrNotFound) {
		return rec, e.missing(ctx, r, id, "read")
	}
	if err != nil {
		return rec, fmt.Errorf("reading %s: %w", id.Key(), err)
	}
	return rec, nil
}

// missing explains why id can't be found: the outermost absent part is named.
func (e *Engine) missing(ctx context.Context, r store.Reader, id arm.ID, verb string) error {
	var chain []arm.ID
	for cur, ok := id.Parent(); ok; cur, ok = cur.Parent() {
		chain = append(chain, cur)
	}
	for i := len(chain) - 1; i >= 0; i-- {
		_, err := r.Get(ctx, chain[i].Key())
		if errors.Is(err, store.ErrNotFound) {
			return absent(chain[i], id, verb)
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", chain[i].Key(), err)
		}
	}
	return absent(id, id, verb)
}

func absent(gone, wanted arm.ID, verb string) error {
	nf := func(code, format string, args ...any) error {
		return arm.Errorf(http.StatusNotFound, code, format, args...)
	}
	switch {
	case len(gone.Segments) == 0 && gone.ResourceGroup == "":
		return nf("SubscriptionNotFound", "The subscription '%s' could not be found.", gone.Subscription)
	case len(gone.Segments) == 0:
		return nf("ResourceGroupNotFound", "Resource group '%s' could not be found.", gone.ResourceGroup)
	case gone.Key() != wanted.Key():
		return nf("ParentResourceNotFound", "Failed to perform '%s' on resource(s) of type '%s', because the parent resource '%s' could not be found.", verb, typePath(wanted), gone)
	case gone.ResourceGroup == "":
		return nf("ResourceNotFound", "The Resource '%s' under subscription '%s' was not found.", shortName(gone), gone.Subscription)
	}
	return nf("ResourceNotFound", "The Resource '%s' under resource group '%s' was not found.", shortName(gone), gone.ResourceGroup)
}

// typePath is the type of the last segment without its namespace: workspaces/jobs.
func typePath(id arm.ID) string {
	_, name, _ := strings.Cut(id.Type(), "/")
	return name
}

// shortName is ns/type/name[/type/name…] of an id, as the reference's error texts write it.
func shortName(id arm.ID) string {
	var b strings.Builder
	for i, s := range id.Segments {
		if i > 0 {
			b.WriteString("/providers/")
		}
		b.WriteString(s.Namespace)
		for j := range s.Types {
			b.WriteString("/" + s.Types[j] + "/" + s.Names[j])
		}
	}
	return b.String()
}

// deleting reports whether a record is on its way out.
func deleting(rec store.Record) bool {
	return strings.EqualFold(operation.State(rec.Body), arm.StateDeleting)
}

// Missing explains why nothing is found at id: the outermost part that does not exist is named. Verb is read or write.
func (e *Engine) Missing(ctx context.Context, id arm.ID, verb string) error {
	return e.missing(ctx, e.Store, id, verb)
}
