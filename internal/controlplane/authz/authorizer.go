package authz

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// Authorizer answers from memory; Invalidate, called by every local write of an assignment, and Run, which follows the
// change log for the writes of other replicas, make it read the assignments again.
type Authorizer struct {
	store store.Store
	mu    sync.Mutex
	// grants by lower-case principal id; nil when they must be read again. generation counts invalidations, so that a read
	// that an invalidation overtook is not kept.
	grants     map[string][]grant
	generation int
}

type grant struct {
	scope string // lower-case key; "/" is everything
	role  Role
}

// New makes an Authorizer over a store.
func New(s store.Store) *Authorizer { return &Authorizer{store: s} }

// Invalidate forgets what was read.
func (a *Authorizer) Invalidate() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.grants = nil
	a.generation++
}

// retry is how long Run waits after an error of the store.
const retry = time.Second

// Run follows the change log until ctx ends. While the store can't be read, what is known is forgotten again and again, so
// that a role taken away elsewhere does not live on here.
func (a *Authorizer) Run(ctx context.Context) error {
	last := int64(-1)
	for ctx.Err() == nil {
		var err error
		if last, err = a.follow(ctx, last); err == nil {
			continue
		}
		a.Invalidate()
		last = -1
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
	return nil
}

// follow reads one page of changes after last, waiting for one; -1 begins at the newest.
func (a *Authorizer) follow(ctx context.Context, last int64) (int64, error) {
	if last < 0 {
		newest, err := a.store.LastChange(ctx)
		a.Invalidate()
		return newest, err
	}
	changes, err := a.store.Changes(ctx, last, 1000)
	if err != nil {
		return last, err
	}
	for _, c := range changes {
		last = c.Seq
		if c.Kind == "resource" && c.Type == TypeAssignment {
			a.Invalidate()
		}
	}
	if len(changes) > 0 {
		return last, nil
	}
	return last, a.store.Wait(ctx, last)
}

func (a *Authorizer) of(ctx context.Context, principalID string) ([]grant, error) {
	a.mu.Lock()
	grants, generation := a.grants, a.generation
	a.mu.Unlock()
	if grants == nil {
		var err error
		if grants, err = a.load(ctx); err != nil {
			return nil, err
		}
		a.mu.Lock()
		if a.generation == generation {
			a.grants = grants
		}
		a.mu.Unlock()
	}
	return grants[strings.ToLower(principalID)], nil
}

func (a *Authorizer) load(ctx context.Context) (map[string][]grant, error) {
	out := map[string][]grant{}
	for after := int64(0); ; {
		recs, err := a.store.List(ctx, store.Query{Type: TypeAssignment, AnyParent: true, After: after, Limit: 1000})
		if err != nil {
			return nil, fmt.Errorf("reading role assignments: %w", err)
		}
		for _, rec := range recs {
			after = rec.Seq
			as, err := decode(rec)
			if err != nil {
				return nil, err
			}
			role, ok := RoleByID(as.RoleDefinitionID)
			if !ok {
				continue
			}
			p := strings.ToLower(as.PrincipalID)
			out[p] = append(out[p], grant{scope: strings.ToLower(as.Scope), role: role})
		}
		if len(recs) < 1000 {
			return out, nil
		}
	}
}

// Check permits or refuses an action on a scope (a lower-case key, or "/"). A refusal is an *arm.Error with status 403.
func (a *Authorizer) Check(ctx context.Context, p resource.Principal, action, scope string) error {
	ok, err := a.allowed(ctx, p, action, scope)
	if err != nil {
		return err
	}
	if ok {
		return nil
	}
	return Refusal(p, action, scope)
}

// Refusal is the error that Check answers with.
func Refusal(p resource.Principal, action, scope string) error {
	return arm.Errorf(http.StatusForbidden, "AuthorizationFailed",
		"The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. If access was recently granted, please refresh your credentials.",
		nameOf(p), p.ID, action, scope)
}

func nameOf(p resource.Principal) string {
	if p.Name != "" {
		return p.Name
	}
	return p.ID
}

func (a *Authorizer) allowed(ctx context.Context, p resource.Principal, action, scope string) (bool, error) {
	scope = strings.ToLower(scope)
	switch p.Kind {
	case "Agent", "Extension":
		if p.Scope == "" || scope != p.Scope || !isRead(strings.ToLower(action)) {
			return false, nil
		}
		return a.current(ctx, p)
	case "Run", "Deployment":
		return false, nil
	}
	grants, err := a.of(ctx, p.ID)
	if err != nil {
		return false, err
	}
	for _, g := range grants {
		if covers(g.scope, scope) && g.role.Allows(action) {
			return true, nil
		}
	}
	return false, nil
}

// current reports whether the cluster that a token was issued for has not been replaced by another of the same name.
func (a *Authorizer) current(ctx context.Context, p resource.Principal) (bool, error) {
	rec, err := a.store.Get(ctx, p.Scope)
	if errors.Is(err, store.ErrNotFound) {
		return true, nil // what asks will answer that there is none
	}
	if err != nil {
		return false, fmt.Errorf("reading %s: %w", p.Scope, err)
	}
	return rec.Seq == p.ScopeSeq, nil
}

// Sees reports whether the principal may read something at, in or around the scope: a subscription is listed for whoever has
// a role on one resource in it.
func (a *Authorizer) Sees(ctx context.Context, p resource.Principal, scope string) (bool, error) {
	if ok, err := a.allowed(ctx, p, "read", scope); ok || err != nil {
		return ok, err
	}
	scope = strings.ToLower(scope)
	if p.Kind == "Agent" || p.Kind == "Extension" || p.Kind == "Run" || p.Kind == "Deployment" {
		return false, nil
	}
	grants, err := a.of(ctx, p.ID)
	if err != nil {
		return false, err
	}
	for _, g := range grants {
		if covers(scope, g.scope) && g.role.Allows("read") {
			return true, nil
		}
	}
	return false, nil
}

// covers reports whether scope is outer or in it.
func covers(outer, scope string) bool {
	outer = strings.TrimSuffix(outer, "/")
	return outer == "" || scope == outer || strings.HasPrefix(scope, outer+"/")
}
