package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"

	"github.com/go-jose/go-jose/v4"
)

// keyring is the set of signing keys; a rotation adds a newer file and, once old tokens have expired, removes the older.
type keyring struct {
	current signingKey
	byKID   map[string]crypto.PublicKey
	// order is newest first.
	order []string
}

// signingKey is a key of the folder and the one for runs' tokens that is derived from it, so that both live and end together. A run's
// token is signed at every submit; that costs a thirtieth with a curve.
type signingKey struct {
	kid    string
	key    *rsa.PrivateKey
	runKID string
	runKey *ecdsa.PrivateKey
}

// signs says with what a token of a kind of principal is signed.
func (k signingKey) signs(kind string) jose.SigningKey {
	if kind == KindRun {
		return jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: k.runKey, KeyID: k.runKID}}
	}
	return jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: k.key, KeyID: k.kid}}
}

// ensureKey makes the folder and its first key.
func ensureKey(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making key folder: %w", err)
	}
	files, err := keyFiles(dir)
	if err == nil && len(files) == 0 {
		err = makeKey(dir)
	}
	return err
}

func readKeys(dir string) (*keyring, error) {
	files, err := keyFiles(dir)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s holds no signing key (*.pem)", dir)
	}
	r := &keyring{byKID: map[string]crypto.PublicKey{}}
	for _, f := range files {
		k, err := readKey(f)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", f, err)
		}
		if r.current.key == nil {
			r.current = k
		}
		if r.byKID[k.kid] == nil {
			r.order = append(r.order, k.kid, k.runKID)
		}
		r.byKID[k.kid], r.byKID[k.runKID] = &k.key.PublicKey, &k.runKey.PublicKey
	}
	return r, nil
}

// keyFiles lists *.pem newest first (by modification time, then name).
func keyFiles(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.pem"))
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", dir, err)
	}
	stamp := func(f string) int64 {
		fi, err := os.Stat(f)
		if err != nil {
			return 0
		}
		return fi.ModTime().UnixNano()
	}
	sort.Slice(files, func(i, j int) bool {
		if a, b := stamp(files[i]), stamp(files[j]); a != b {
			return a > b
		}
		return files[i] > files[j]
	})
	return slices.Clip(files), nil
}

func readKey(file string) (signingKey, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return signingKey{}, err
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "PRIVATE KEY" {
		return signingKey{}, errors.New("no PEM block of type PRIVATE KEY")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
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
	kid := keyID(&rk.PublicKey)
	return signingKey{kid: kid, key: rk, runKID: kid + "-run", runKey: run}, nil
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

func makeKey(dir string) error {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("generating signing key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return fmt.Errorf("encoding signing key: %w", err)
	}
	return writeNew(filepath.Join(dir, keyID(&k.PublicKey)+".pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// writeNew writes a file that is whole or absent.
func writeNew(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}

// Rotate makes a new signing key, which running servers begin to use. Tokens of the older keys stay valid until their files are
// deleted; do that once AgentTTL has passed.
func Rotate(dir string) error { return makeKey(dir) }

func (r *keyring) public() jose.JSONWebKeySet {
	var set jose.JSONWebKeySet
	for _, kid := range r.order {
		alg := jose.RS256
		if _, is := r.byKID[kid].(*ecdsa.PublicKey); is {
			alg = jose.ES256
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: r.byKID[kid], KeyID: kid, Use: "sig", Algorithm: string(alg)})
	}
	return set
}
