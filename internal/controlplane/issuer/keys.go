package issuer

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// tendEvery is how often keys are read from the store, and looked after.
const tendEvery = time.Minute

// rereadAfter is for how long keys are not read again for the sake of a token that none of them signed.
const rereadAfter = 5 * time.Second

// keyring is the signing keys as they were last read.
type keyring struct {
	// keys are oldest first.
	keys  []signingKey
	infos []KeyInfo
	byKID map[string]crypto.PublicKey
	// read tells the stored keys that these are: keys are not opened again when it is the same.
	read string
}

// signingKey is a stored key and the one for runs' tokens that is derived from it, so that both live and end together. A run's
// token is signed at every submit; that costs a thirtieth with a curve.
type signingKey struct {
	KeyInfo
	key    *rsa.PrivateKey
	runKID string
	runKey *ecdsa.PrivateKey
}

// signs says with what a token of a kind of principal is signed.
func (k signingKey) signs(kind string) jose.SigningKey {
	if kind == KindRun {
		return jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: k.runKey, KeyID: k.runKID}}
	}
	return jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: k.key, KeyID: k.ID}}
}

func newKeyring(keys []signingKey) *keyring {
	r := &keyring{keys: keys, byKID: map[string]crypto.PublicKey{}}
	for _, k := range keys {
		r.infos = append(r.infos, k.KeyInfo)
		r.byKID[k.ID], r.byKID[k.runKID] = &k.key.PublicKey, &k.runKey.PublicKey
	}
	return r
}

// at is the key that signs at a time.
func (r *keyring) at(now time.Time) signingKey { return r.keys[signing(r.infos, now)] }

// public is the key set, newest first.
func (r *keyring) public() jose.JSONWebKeySet {
	var set jose.JSONWebKeySet
	for _, k := range slices.Backward(r.keys) {
		set.Keys = append(set.Keys,
			jose.JSONWebKey{Key: &k.key.PublicKey, KeyID: k.ID, Use: "sig", Algorithm: string(jose.RS256)},
			jose.JSONWebKey{Key: &k.runKey.PublicKey, KeyID: k.runKID, Use: "sig", Algorithm: string(jose.ES256)})
	}
	return set
}

// Run looks after the signing keys until ctx ends.
func (is *Issuer) Run(ctx context.Context) error {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := is.tendKeys(ctx); err != nil && ctx.Err() == nil {
				is.cfg.Log.Error("looking after signing keys; the last ones stay in use", "error", err)
			}
		}
	}
}

// tendKeys makes and deletes keys as it is time to, and takes the stored ones into use.
func (is *Issuer) tendKeys(ctx context.Context) error {
	if err := is.cfg.Keys.tend(ctx, is.cfg.Now(), is.cfg.KeyAge); err != nil {
		return err
	}
	is.reading.Lock()
	defer is.reading.Unlock()
	return is.readKeys(ctx)
}

// reread reads keys again for a token that none of them signed, and returns what there is: another server may have made one that signs
// at once. What clients send does not make it more often than each rereadAfter.
func (is *Issuer) reread(ctx context.Context) *keyring {
	is.reading.Lock()
	defer is.reading.Unlock()
	if is.cfg.Now().Sub(is.readAt) >= rereadAfter {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rereadAfter) // it is for those who wait, too
		defer cancel()
		if err := is.readKeys(ctx); err != nil {
			is.cfg.Log.Error("reading signing keys again for an unknown one; the last ones stay in use", "error", err)
		}
	}
	return is.ring.Load()
}

// readKeys takes the stored keys into use; reading is held.
func (is *Issuer) readKeys(ctx context.Context) error {
	is.readAt = is.cfg.Now()
	recs, err := keyRecords(ctx, is.cfg.Keys.Store)
	if err != nil {
		return err
	}
	read := ""
	for _, rec := range recs {
		read += fmt.Sprintf("%s/%d ", rec.ID, rec.version)
	}
	last := is.ring.Load()
	if last != nil && last.read == read {
		return nil
	}
	keys, failed := is.cfg.Keys.open(recs)
	if len(keys) == 0 {
		return errors.Join(errors.New("the store holds no signing key that opens"), failed)
	}
	ring := newKeyring(keys)
	ring.read = read
	if failed != nil {
		is.cfg.Log.Error("some signing keys do not open; what they signed is refused", "error", failed)
	}
	if last != nil {
		is.cfg.Log.Info("signing keys have changed", "keys", len(keys), "signs", ring.at(is.cfg.Now()).ID)
	}
	is.ring.Store(ring)
	return nil
}

func parseKey(der []byte) (signingKey, error) {
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return signingKey{}, fmt.Errorf("parsing PKCS#8: %w", err)
	}
	rk, ok := k.(*rsa.PrivateKey)
	if !ok || rk.N.BitLen() < 2048 {
		return signingKey{}, errors.New("not an RSA key of at least 2048 bits")
	}
	run, err := runKey(rk)
	if err != nil {
		return signingKey{}, err
	}
	return signingKey{key: rk, runKID: keyID(&rk.PublicKey) + "-run", runKey: run}, nil
}

// runKey derives the key of runs' tokens.
func runKey(k *rsa.PrivateKey) (*ecdsa.PrivateKey, error) {
	secret, err := hkdf.Key(sha256.New, x509.MarshalPKCS1PrivateKey(k), nil, "fairlead issuer: ES256 key of runs' tokens", 32)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of runs' tokens: %w", err)
	}
	run, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), secret)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of runs' tokens: %w", err)
	}
	return run, nil
}

func keyID(k *rsa.PublicKey) string {
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(k))
	return hex.EncodeToString(sum[:10])
}
