package types

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/operation"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/serving"
)

const (
	// endpointTokenTTL is how long a token for an endpoint is good; a new one is due after three quarters of it.
	endpointTokenTTL = time.Hour
	// minKey and maxKey bound keys that a user chooses: only their hash is kept in the cluster, so they must not be guessable.
	minKey, maxKey = 32, 256
)

// keepKeys seals an endpoint's keys into its record: made once, or chosen by who makes the endpoint.
func (d Deps) keepKeys(p *resource.Put, given *machinelearning.EndpointAuthKeys) error {
	if p.Old != nil {
		if given != nil && (given.PrimaryKey != "" || given.SecondaryKey != "") {
			return arm.Invalid("properties.keys", "properties.keys can be given when the endpoint is made only; change keys with regenerateKeys.")
		}
		return nil
	}
	if given == nil {
		given = &machinelearning.EndpointAuthKeys{}
	}
	var keys serving.Keys
	var err error
	if keys.Primary, err = chosenKey("properties.keys.primaryKey", given.PrimaryKey); err != nil {
		return err
	}
	if keys.Secondary, err = chosenKey("properties.keys.secondaryKey", given.SecondaryKey); err != nil {
		return err
	}
	p.Record.Secret, err = d.sealKeys(keys)
	return err
}

// chosenKey checks a key, or makes one of 256 random bits.
func chosenKey(target, key string) (string, error) {
	if key == "" {
		b := make([]byte, 32)
		if _, err := rand.Read(b); err != nil {
			return "", fmt.Errorf("making key: %w", err)
		}
		return base64.RawURLEncoding.EncodeToString(b), nil
	}
	if len(key) < minKey || len(key) > maxKey {
		return "", arm.Invalid(target, "%s has %d characters; a key has %d to %d, and must be random. Leave it out to have one made.", target, len(key), minKey, maxKey)
	}
	for _, r := range key {
		if r <= ' ' || r > '~' {
			return "", arm.Invalid(target, "%s has a character that no header may have; a key is made of visible ASCII characters.", target)
		}
	}
	return key, nil
}

func (d Deps) sealKeys(keys serving.Keys) ([]byte, error) {
	raw, err := json.Marshal(keys)
	if err != nil {
		return nil, fmt.Errorf("encoding keys: %w", err)
	}
	sealed, err := d.Seal(raw)
	if err != nil {
		return nil, fmt.Errorf("sealing keys: %w", err)
	}
	return sealed, nil
}

func (d Deps) openKeys(rec store.Record) (keys serving.Keys, err error) {
	raw, err := d.Open(rec.Secret)
	if err != nil {
		return keys, fmt.Errorf("opening keys of %s: %w", rec.Key, err)
	}
	if err := json.Unmarshal(raw, &keys); err != nil {
		return keys, fmt.Errorf("decoding keys of %s: %w", rec.Key, err)
	}
	return keys, nil
}

func (d Deps) listEndpointKeys(_ context.Context, a *resource.Call) (any, error) {
	if err := needMode(a.Record, machinelearning.AuthKey, "listKeys", "token"); err != nil {
		return nil, err
	}
	keys, err := d.openKeys(a.Record)
	return machinelearning.EndpointAuthKeys{PrimaryKey: keys.Primary, SecondaryKey: keys.Secondary}, err
}

// needMode refuses an action that belongs to another way of authentication.
func needMode(rec store.Record, mode, action, instead string) error {
	if have := field(rec, "authMode"); have != mode {
		return arm.Errorf(http.StatusBadRequest, "BadRequest", "Endpoint %s has authMode %s; %s is for endpoints with authMode %s. Call %s.", rec.Name, have, action, mode, instead)
	}
	return nil
}

// endpointToken gives a token that the endpoint's router takes and nobody else. The router is told the newest public keys first.
func (d Deps) endpointToken(ctx context.Context, a *resource.Call) (any, error) {
	if err := needMode(a.Record, machinelearning.AuthAMLToken, "token", "listKeys"); err != nil {
		return nil, err
	}
	st, err := serving.DecodeEndpoint(a.Record)
	if err != nil {
		return nil, err
	}
	if err := d.refreshEndpoint(ctx, a); err != nil {
		return nil, err
	}
	now := d.Clock()
	token, err := d.IssueEndpointToken(ctx, a.Principal, st.Audience, endpointTokenTTL)
	if err != nil {
		return nil, fmt.Errorf("issuing a token for endpoint %s: %w", a.Record.Name, err)
	}
	return machinelearning.EndpointAuthToken{AccessToken: token, TokenType: "Bearer", ExpiryTimeUTC: now.Add(endpointTokenTTL).Unix(),
		RefreshAfterTimeUTC: now.Add(endpointTokenTTL * 3 / 4).Unix()}, nil
}

// refreshEndpoint tells the cluster anew what has changed beside the endpoint: the keys that verify tokens.
func (d Deps) refreshEndpoint(ctx context.Context, a *resource.Call) error {
	return a.Store.Update(ctx, func(tx store.Tx) error {
		rec, err := tx.Get(ctx, a.Record.Key)
		if err != nil {
			return fmt.Errorf("reading endpoint %s: %w", a.Record.Name, err)
		}
		next, err := d.TellEndpoint(ctx, tx, rec)
		if err != nil || string(next.Internal) == string(rec.Internal) {
			return err
		}
		_, err = tx.Put(ctx, next)
		return err
	})
}

// regenerateEndpointKeys replaces one key; its operation ends when the cluster has taken the new one over.
func (d Deps) regenerateEndpointKeys(ctx context.Context, a *resource.Call) (any, error) {
	var req machinelearning.RegenerateEndpointKeysRequest
	if len(a.Body) > 0 {
		if err := json.Unmarshal(a.Body, &req); err != nil {
			return nil, arm.Invalid("", "The body cannot be read: %v. It is {\"keyType\":\"Primary\"} or {\"keyType\":\"Secondary\"}.", err)
		}
	}
	var err error
	if req.KeyType, err = enum("keyType", req.KeyType, "Primary", "Secondary"); err != nil {
		return nil, err
	}
	key, err := chosenKey("keyValue", req.KeyValue)
	if err != nil {
		return nil, err
	}
	return nil, a.Store.Update(ctx, func(tx store.Tx) error { return d.replaceKey(ctx, tx, a, req.KeyType, key) })
}

func (d Deps) replaceKey(ctx context.Context, tx store.Tx, a *resource.Call, which, key string) error {
	rec, err := tx.Get(ctx, a.Record.Key)
	if err != nil {
		return fmt.Errorf("reading endpoint %s: %w", a.Record.Name, err)
	}
	if err := needMode(rec, machinelearning.AuthKey, "regenerateKeys", "token"); err != nil {
		return err
	}
	if err := busy(&rec); err != nil {
		return err
	}
	keys, err := d.openKeys(rec)
	if err != nil {
		return err
	}
	if which == "Primary" {
		keys.Primary = key
	} else {
		keys.Secondary = key
	}
	if rec.Secret, err = d.sealKeys(keys); err != nil {
		return err
	}
	if rec, err = d.TellEndpoint(ctx, tx, rec); err != nil {
		return err
	}
	now := d.Clock().UTC()
	op := operation.New(rec.Key, arm.StateUpdating, now)
	if rec.Body, err = operation.SetState(rec.Body, arm.StateUpdating); err != nil {
		return err
	}
	rec.UpdatedAt, rec.UpdatedBy = now, a.Principal.Name
	if _, err := tx.Put(ctx, rec); err != nil {
		return err
	}
	if err := tx.PutOperation(ctx, op); err != nil {
		return fmt.Errorf("writing operation of %s: %w", rec.Key, err)
	}
	a.Status, a.Operation = http.StatusAccepted, &op
	return nil
}
