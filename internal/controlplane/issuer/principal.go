package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// TypeServicePrincipal is the internal record type of service principals; it is not in the registry and never on the wire.
const TypeServicePrincipal = "fairlead.internal/serviceprincipals"

// ServicePrincipal is an application that may ask for tokens.
type ServicePrincipal struct {
	ClientID    string `json:"clientId"`
	ObjectID    string `json:"objectId"`
	DisplayName string `json:"displayName"`
	// Credentials prove that a program is this one; each does. They are kept apart from the rest of the record.
	Credentials []Credential `json:"-"`
}

// proofs is what a record remembers of a principal. Earlier releases had one secret, without end, at the top.
type proofs struct {
	Credentials []Credential `json:"credentials"`
	secretHash
}

const principalsPrefix = "/internal/serviceprincipals/"

func principalKey(clientID string) string { return principalsPrefix + strings.ToLower(clientID) }

// CreateServicePrincipal stores a principal whose name no other has. Empty ids are filled with random ones; it returns what was stored.
func CreateServicePrincipal(ctx context.Context, tx store.Tx, sp ServicePrincipal, now time.Time) (ServicePrincipal, error) {
	if n := len(sp.DisplayName); n == 0 || n > 120 {
		return sp, fmt.Errorf("the name has %d characters; it must have 1 to 120", n)
	}
	if sp.ClientID == "" {
		sp.ClientID = uuid.NewString()
	}
	if sp.ObjectID == "" {
		sp.ObjectID = uuid.NewString()
	}
	switch _, err := namedPrincipal(ctx, tx, sp.DisplayName); {
	case err == nil:
		return sp, fmt.Errorf("there is a service principal %q; to give it another secret or certificate: fairlead server principals reset", sp.DisplayName)
	case !errors.Is(err, store.ErrNotFound):
		return sp, err
	}
	rec := store.Record{Key: principalKey(sp.ClientID), ID: principalKey(sp.ClientID), Type: TypeServicePrincipal, Name: sp.ClientID, CreatedAt: micros(now), CreatedBy: "fairlead"}
	return sp, putPrincipal(ctx, tx, rec, sp, now)
}

// EditServicePrincipal changes the principal of a name or client id; the error wraps store.ErrNotFound when there is none.
func EditServicePrincipal(ctx context.Context, tx store.Tx, name string, now time.Time, change func(*ServicePrincipal) error) (ServicePrincipal, error) {
	rec, err := namedPrincipal(ctx, tx, name)
	if err != nil {
		return ServicePrincipal{}, fmt.Errorf("finding service principal %q: %w", name, err)
	}
	sp, err := decodePrincipal(rec)
	if err == nil {
		err = change(&sp)
	}
	if err != nil {
		return sp, err
	}
	if n := len(sp.Credentials); n > maxCredentials {
		return sp, fmt.Errorf("service principal %q would have %d secrets and certificates; at most %d are possible: remove some", name, n, maxCredentials)
	}
	return sp, putPrincipal(ctx, tx, rec, sp, now)
}

// RemoveServicePrincipal deletes the principal of a name or client id, and returns it. Tokens that it has live on, for UserTTL at most;
// its role assignments are for the caller to delete.
func RemoveServicePrincipal(ctx context.Context, tx store.Tx, name string) (ServicePrincipal, error) {
	rec, err := namedPrincipal(ctx, tx, name)
	if err != nil {
		return ServicePrincipal{}, fmt.Errorf("finding service principal %q: %w", name, err)
	}
	sp, err := decodePrincipal(rec)
	if err != nil {
		return sp, err
	}
	return sp, tx.Delete(ctx, rec.Key)
}

// ServicePrincipals lists all, by name.
func ServicePrincipals(ctx context.Context, r store.Reader) ([]ServicePrincipal, error) {
	var all []ServicePrincipal
	err := eachPrincipal(ctx, r, func(rec store.Record) error {
		sp, err := decodePrincipal(rec)
		all = append(all, sp)
		return err
	})
	slices.SortFunc(all, func(a, b ServicePrincipal) int { return strings.Compare(a.DisplayName, b.DisplayName) })
	return all, err
}

func eachPrincipal(ctx context.Context, r store.Reader, fn func(store.Record) error) error {
	const page = 1000
	for after := int64(0); ; {
		recs, err := r.List(ctx, store.Query{Type: TypeServicePrincipal, AnyParent: true, After: after, Limit: page})
		if err != nil {
			return fmt.Errorf("listing service principals: %w", err)
		}
		for _, rec := range recs {
			if err := fn(rec); err != nil {
				return err
			}
			after = rec.Seq
		}
		if len(recs) < page {
			return nil
		}
	}
}

// namedPrincipal is the record of a client id, or else of a name.
func namedPrincipal(ctx context.Context, r store.Reader, name string) (store.Record, error) {
	rec, err := r.Get(ctx, principalKey(name))
	if !errors.Is(err, store.ErrNotFound) {
		return rec, err
	}
	found := store.Record{}
	err = eachPrincipal(ctx, r, func(rec store.Record) error {
		sp, err := decodePrincipal(rec)
		if strings.EqualFold(sp.DisplayName, name) {
			found = rec
		}
		return err
	})
	if err == nil && found.Key == "" {
		err = store.ErrNotFound
	}
	return found, err
}

func findPrincipal(ctx context.Context, r store.Reader, clientID string) (ServicePrincipal, error) {
	rec, err := r.Get(ctx, principalKey(clientID))
	if err != nil {
		return ServicePrincipal{}, err
	}
	return decodePrincipal(rec)
}

func decodePrincipal(rec store.Record) (sp ServicePrincipal, err error) {
	var p proofs
	err = json.Unmarshal(rec.Body, &sp)
	if len(rec.Internal) > 0 {
		err = errors.Join(err, json.Unmarshal(rec.Internal, &p))
	}
	if err != nil {
		return sp, fmt.Errorf("decoding %s: %w", rec.Key, err)
	}
	sp.Credentials = p.Credentials
	if len(p.Hash) > 0 {
		sp.Credentials = append(sp.Credentials, Credential{ID: sp.ObjectID, Kind: KindSecret, Made: rec.CreatedAt, Secret: &p.secretHash})
	}
	return sp, nil
}

func putPrincipal(ctx context.Context, tx store.Tx, rec store.Record, sp ServicePrincipal, now time.Time) error {
	var err error
	if rec.Body, err = json.Marshal(sp); err != nil {
		return fmt.Errorf("encoding service principal: %w", err)
	}
	if rec.Internal, err = json.Marshal(map[string]any{"credentials": sp.Credentials}); err != nil {
		return fmt.Errorf("encoding credentials: %w", err)
	}
	rec.UpdatedAt, rec.UpdatedBy = micros(now), "fairlead"
	if _, err := tx.Put(ctx, rec); err != nil {
		return fmt.Errorf("storing service principal %s: %w", sp.ClientID, err)
	}
	return nil
}

func principalClaims(sp ServicePrincipal) Claims {
	return Claims{Subject: sp.ObjectID, ClientID: sp.ClientID, Name: sp.DisplayName, Kind: KindServicePrincipal}
}
