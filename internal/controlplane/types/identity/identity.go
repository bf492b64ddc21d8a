// Package identity knows the managed identities of resources: which ones a resource has, in which order, and which of them a run or a
// deployment may speak as.
package identity

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// Identity is one managed identity of a resource.
type Identity struct {
	// ResourceID is a user-assigned identity's id as it was written; "" for the resource's own.
	ResourceID string
	// PrincipalID is the object id that roles are assigned to, ClientID the one that clients ask by.
	PrincipalID, ClientID string
	// Name is what systemData shows.
	Name string
}

// Order is what a record's Internal keeps of its identities: JSON objects have no order, but the first user-assigned identity counts.
type Order struct {
	// UserAssigned are Keys.
	UserAssigned []string `json:"userAssigned,omitempty"`
}

// Grant is the identity that a workload was given when it was written: whose it is, and from which resource it is had.
type Grant struct {
	// Principal is the identity's; "" for none.
	Principal string `json:"principal,omitempty"`
	// Carrier is the Key of the resource that has the identity, CarrierSeq the Seq of its record then; 0 when that is the workload itself.
	Carrier    string `json:"carrier,omitempty"`
	CarrierSeq int64  `json:"carrierSeq,omitempty"`
}

// carrierNoun is what people call the carrier's type.
func (g Grant) carrierNoun() string {
	parts := strings.Split(g.Carrier, "/")
	typ := parts[max(len(parts)-2, 0)]
	if typ == "onlineendpoints" {
		return "endpoint"
	}
	return strings.TrimSuffix(typ, "s")
}

// Encode is the form to store.
func (o Order) Encode() (json.RawMessage, error) {
	raw, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encoding order of identities: %w", err)
	}
	return raw, nil
}

// OrderOf reads a record's Internal; names are sorted behind what it knows.
func OrderOf(rec store.Record) (Order, error) {
	var o Order
	if len(rec.Internal) == 0 {
		return o, nil
	}
	if err := json.Unmarshal(rec.Internal, &o); err != nil {
		return o, fmt.Errorf("decoding order of identities of %s: %w", rec.Key, err)
	}
	return o, nil
}

// Sort puts ids (as written) in order: first those that the request names, as it names them, then those of the stored order, then by name.
func Sort(ids, request []string, was Order) []string {
	place := func(id string) int {
		key := strings.ToLower(id)
		if i := slices.IndexFunc(request, func(r string) bool { return strings.EqualFold(r, id) }); i >= 0 {
			return i
		}
		if i := slices.Index(was.UserAssigned, key); i >= 0 {
			return len(request) + i
		}
		return len(request) + len(was.UserAssigned)
	}
	return slices.SortedFunc(slices.Values(ids), func(a, b string) int {
		return cmp.Or(cmp.Compare(place(a), place(b)), strings.Compare(a, b))
	})
}

// Named lists the keys of identity.userAssignedIdentities in the order in which a request's body has them; those that it takes away
// (null) are left out.
func Named(body json.RawMessage) []string {
	var doc struct {
		Identity struct {
			UserAssignedIdentities json.RawMessage `json:"userAssignedIdentities"`
		} `json:"identity"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return nil // whoever reads the body says what is wrong
	}
	dec := json.NewDecoder(bytes.NewReader(doc.Identity.UserAssignedIdentities))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil
	}
	var names []string
	for dec.More() {
		key, err := dec.Token()
		name, isText := key.(string)
		var v any
		if err != nil || !isText || dec.Decode(&v) != nil {
			return nil
		}
		if v != nil {
			names = append(names, name)
		}
	}
	return names
}

// Of lists the identities that a resource has, the one that its workloads get first. A user-assigned identity that was deleted since is
// none any more, nor is another one that was made under its name.
func Of(ctx context.Context, r store.Reader, rec store.Record) ([]Identity, error) {
	var body struct {
		Identity struct {
			PrincipalID            string                                            `json:"principalId"`
			ClientID               string                                            `json:"clientId"`
			UserAssignedIdentities map[string]struct{ PrincipalID, ClientID string } `json:"userAssignedIdentities"`
		} `json:"identity"`
	}
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		return nil, fmt.Errorf("decoding identity of %s: %w", rec.Key, err)
	}
	var out []Identity
	if own := body.Identity; own.PrincipalID != "" {
		_, name, _ := strings.Cut(rec.ID, "/workspaces/")
		out = append(out, Identity{PrincipalID: own.PrincipalID, ClientID: cmp.Or(own.ClientID, own.PrincipalID), Name: cmp.Or(name, rec.Name)})
	}
	order, err := OrderOf(rec)
	if err != nil {
		return nil, err
	}
	assigned := body.Identity.UserAssignedIdentities
	for _, id := range Sort(slices.Sorted(maps.Keys(assigned)), nil, order) {
		given := assigned[id]
		is, err := exists(ctx, r, id, given.PrincipalID)
		if err != nil {
			return nil, err
		}
		if is {
			out = append(out, Identity{ResourceID: id, PrincipalID: given.PrincipalID, ClientID: given.ClientID, Name: id[strings.LastIndexByte(id, '/')+1:]})
		}
	}
	return out, nil
}

// exists reports whether the identity that was assigned is still the one that has the id.
func exists(ctx context.Context, r store.Reader, id, principal string) (bool, error) {
	parsed, err := arm.ParseID(id)
	if err != nil {
		return false, nil //nolint:nilerr // no identity has such an id
	}
	rec, err := r.Get(ctx, parsed.Key())
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading identity %s: %w", id, err)
	}
	var body struct{ Properties struct{ PrincipalID string } }
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		return false, fmt.Errorf("decoding identity %s: %w", id, err)
	}
	return principal != "" && body.Properties.PrincipalID == principal, nil
}

// Find is the identity of a principal among those of a resource.
func Find(list []Identity, principal string) (Identity, bool) {
	i := slices.IndexFunc(list, func(i Identity) bool { return i.PrincipalID == principal })
	if i < 0 {
		return Identity{}, false
	}
	return list[i], true
}
