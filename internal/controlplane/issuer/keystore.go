package issuer

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// typeSigningKey is the internal record type of signing keys: a KeyInfo's times in the body, the key sealed in the secret.
const typeSigningKey = "fairlead.internal/signingkeys"

// maxKeys bounds how many keys there may be for another to be made by hand. What servers make comes on top: half a hundred at the
// shortest age that they take.
const maxKeys = 100

// KeyStore is the signing keys of all control planes on one store.
type KeyStore struct {
	Store store.Store
	Box   *seal.Box
}

type keyTimes struct {
	Made      time.Time `json:"made"`
	SignsFrom time.Time `json:"signsFrom"`
}

func signingKeyKey(kid string) string { return "/internal/signingkeys/" + kid }
func signingKeyUse(kid string) []byte { return []byte("fairlead/signing-key/" + kid) }
func bySigning(a, b KeyInfo) int      { return a.SignsFrom.Compare(b.SignsFrom) }
func micros(t time.Time) time.Time    { return t.UTC().Truncate(time.Microsecond) }
func known(keys []KeyInfo, id string) int {
	return slices.IndexFunc(keys, func(k KeyInfo) bool { return k.ID == id })
}

// List gives the keys, oldest first, and which of them signs now.
func (s KeyStore) List(ctx context.Context, now time.Time) (keys []KeyInfo, signs int, err error) {
	recs, err := keyRecords(ctx, s.Store)
	if err != nil {
		return nil, 0, err
	}
	keys = infos(recs)
	return keys, signing(keys, now), nil
}

// Rotate makes a key that signs after settle.
func (s KeyStore) Rotate(ctx context.Context, now time.Time, settle time.Duration) (KeyInfo, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return KeyInfo{}, fmt.Errorf("generating signing key: %w", err)
	}
	info := KeyInfo{ID: keyID(&key.PublicKey), Made: now, SignsFrom: now.Add(settle)}
	return info, s.Store.Update(ctx, func(tx store.Tx) error {
		recs, err := keyRecords(ctx, tx)
		if err != nil {
			return err
		}
		if len(recs) >= maxKeys {
			return fmt.Errorf("there are %d signing keys, and %d are enough; remove one that you do not need first: fairlead server keys remove", len(recs), maxKeys)
		}
		return s.put(ctx, tx, info, key)
	})
}

// Remove deletes a key: what it signed is refused from then on, at once here and within a minute at every server.
func (s KeyStore) Remove(ctx context.Context, now time.Time, id string) error {
	return s.Store.Update(ctx, func(tx store.Tx) error {
		recs, err := keyRecords(ctx, tx)
		if err != nil {
			return err
		}
		keys := infos(recs)
		switch i := known(keys, id); {
		case i < 0:
			return fmt.Errorf("no signing key %q", id)
		case i == signing(keys, now):
			return fmt.Errorf("key %s signs now; make another one that signs before this one goes: fairlead server keys rotate", id)
		}
		return tx.Delete(ctx, signingKeyKey(id))
	})
}

// keyRecord is a stored key, not opened.
type keyRecord struct {
	KeyInfo
	version int64
	sealed  []byte
}

func infos(recs []keyRecord) []KeyInfo {
	out := make([]KeyInfo, len(recs))
	for i, rec := range recs {
		out[i] = rec.KeyInfo
	}
	return out
}

func keyRecords(ctx context.Context, r store.Reader) ([]keyRecord, error) {
	recs, err := r.List(ctx, store.Query{Type: typeSigningKey, AnyParent: true, Limit: 2 * maxKeys})
	if err != nil {
		return nil, fmt.Errorf("listing signing keys: %w", err)
	}
	var out []keyRecord
	for _, rec := range recs {
		var t keyTimes
		if err := json.Unmarshal(rec.Body, &t); err != nil {
			return nil, fmt.Errorf("decoding %s: %w", rec.Key, err)
		}
		out = append(out, keyRecord{KeyInfo{rec.Name, t.Made, t.SignsFrom}, rec.Version, rec.Secret})
	}
	slices.SortStableFunc(out, func(a, b keyRecord) int { return bySigning(a.KeyInfo, b.KeyInfo) })
	return out, nil
}

func (s KeyStore) put(ctx context.Context, tx store.Tx, info KeyInfo, key *rsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding signing key: %w", err)
	}
	body, err := json.Marshal(keyTimes{micros(info.Made), micros(info.SignsFrom)})
	if err != nil {
		return fmt.Errorf("encoding signing key: %w", err)
	}
	name, at := signingKeyKey(info.ID), micros(info.Made)
	rec := store.Record{Key: name, ID: name, Type: typeSigningKey, Name: info.ID, Body: body, Secret: s.Box.Seal(der, signingKeyUse(info.ID)),
		CreatedAt: at, UpdatedAt: at, CreatedBy: "fairlead", UpdatedBy: "fairlead"}
	if _, err := tx.Put(ctx, rec); err != nil {
		return fmt.Errorf("storing signing key %s: %w", info.ID, err)
	}
	return nil
}

// open opens stored keys. Those that do not open are left out and told in the error.
func (s KeyStore) open(recs []keyRecord) ([]signingKey, error) {
	var keys []signingKey
	var errs []error
	for _, rec := range recs {
		key, err := s.openOne(rec)
		if err != nil {
			errs = append(errs, fmt.Errorf("signing key %s: %w", rec.ID, err))
			continue
		}
		keys = append(keys, key)
	}
	return keys, errors.Join(errs...)
}

func (s KeyStore) openOne(rec keyRecord) (signingKey, error) {
	der, err := s.Box.Open(rec.sealed, signingKeyUse(rec.ID))
	if err != nil {
		return signingKey{}, err
	}
	key, err := parseKey(der)
	key.KeyInfo = rec.KeyInfo
	return key, err
}

// tend does what plan says, of the keys that open: every server does, and the store lets one at a time.
func (s KeyStore) tend(ctx context.Context, now time.Time, age time.Duration) error {
	decide := func(r store.Reader) (time.Time, []string, error) {
		recs, err := keyRecords(ctx, r)
		if err != nil {
			return time.Time{}, nil, err
		}
		keys, _ := s.open(recs) // what does not open, whoever reads it into use tells
		var infos []KeyInfo
		for _, k := range keys {
			infos = append(infos, k.KeyInfo)
		}
		from, drop := plan(infos, now, age)
		return from, drop, nil
	}
	from, drop, err := decide(s.Store)
	if err != nil || from.IsZero() && len(drop) == 0 {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048) // takes long: not in the transaction
	if err != nil {
		return fmt.Errorf("generating signing key: %w", err)
	}
	return s.Store.Update(ctx, func(tx store.Tx) error {
		from, drop, err := decide(tx)
		if err != nil {
			return err
		}
		if !from.IsZero() {
			if err := s.put(ctx, tx, KeyInfo{keyID(&key.PublicKey), now, from}, key); err != nil {
				return err
			}
		}
		for _, id := range drop {
			if err := tx.Delete(ctx, signingKeyKey(id)); err != nil {
				return fmt.Errorf("deleting signing key %s: %w", id, err)
			}
		}
		return nil
	})
}
