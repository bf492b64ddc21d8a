// Package seal encrypts secrets at rest: AES-256-GCM under a key of many, so that keys can be rotated.
//
//	sealed = version (1 byte, 1) ‖ key id (8 bytes) ‖ nonce (12) ‖ ciphertext ‖ tag (16)
//
// The header is authenticated together with the caller's additional data, which should say what the secret is and whose
// (its record's key): a sealed value copied to another record then does not open there.
package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
)

// Errors that callers branch on.
var (
	// ErrKey: the value is sealed with a key that this box does not have.
	ErrKey = errors.New("sealed with a key that is not in the key file")
	// ErrSealed: the value is damaged, is not a sealed value, or belongs to other additional data.
	ErrSealed = errors.New("sealed value does not open: it is damaged or belongs to something else")
)

const (
	// KeySize is the length of a key in bytes.
	KeySize = 32
	version = 1
	idSize  = 8
	header  = 1 + idSize
	// Overhead is how many bytes longer a sealed value is than its plaintext.
	Overhead = header + 12 + 16
)

// Key is an AES-256 key.
type Key [KeySize]byte

// NewKey makes a random key.
func NewKey() Key {
	var k Key
	rand.Read(k[:])
	return k
}

// ID names the key without telling it: 16 hex digits of a hash.
func (k Key) ID() string { id := k.id(); return hex.EncodeToString(id[:]) }

// String is the ID, so that a key printed by accident is not told.
func (k Key) String() string { return "key " + k.ID() }

// GoString is String.
func (k Key) GoString() string { return k.String() }

func (k Key) id() (id [idSize]byte) {
	sum := sha256.Sum256(append([]byte("fairlead seal key id\x00"), k[:]...))
	copy(id[:], sum[:])
	return id
}

// Box seals with its first key and opens with all. It is safe for use by many goroutines, and for 2³² seals a key.
type Box struct {
	first [idSize]byte
	aeads map[[idSize]byte]cipher.AEAD
}

// New makes a box; the first key seals. At least one key is needed, and none twice.
func New(keys ...Key) (*Box, error) {
	if len(keys) == 0 {
		return nil, errors.New("making a seal box: no key")
	}
	b := &Box{first: keys[0].id(), aeads: make(map[[idSize]byte]cipher.AEAD, len(keys))}
	for _, k := range keys {
		if _, twice := b.aeads[k.id()]; twice {
			return nil, fmt.Errorf("making a seal box: %v is given twice", k)
		}
		block, err := aes.NewCipher(k[:])
		if err != nil {
			return nil, fmt.Errorf("making a seal box: %w", err)
		}
		if b.aeads[k.id()], err = cipher.NewGCMWithRandomNonce(block); err != nil {
			return nil, fmt.Errorf("making a seal box: %w", err)
		}
	}
	return b, nil
}

// Seal encrypts plaintext and binds it to aad.
func (b *Box) Seal(plaintext, aad []byte) []byte {
	out := make([]byte, header, len(plaintext)+Overhead)
	out[0] = version
	copy(out[1:], b.first[:])
	return b.aeads[b.first].Seal(out, nil, plaintext, bind(out[:header], aad))
}

// Open decrypts what Seal made with the same aad; ErrKey or ErrSealed otherwise.
func (b *Box) Open(sealed, aad []byte) ([]byte, error) {
	if len(sealed) < Overhead || sealed[0] != version {
		return nil, ErrSealed
	}
	aead, ok := b.aeads[[idSize]byte(sealed[1:header])]
	if !ok {
		return nil, fmt.Errorf("%w (key id %x)", ErrKey, sealed[1:header])
	}
	plaintext, err := aead.Open(nil, nil, sealed[header:], bind(sealed[:header], aad))
	if err != nil {
		return nil, ErrSealed
	}
	return plaintext, nil
}

// Stale reports whether a sealed value should be sealed again, because it is not under the first key.
func (b *Box) Stale(sealed []byte) bool {
	return len(sealed) < header || !bytes.Equal(sealed[1:header], b.first[:])
}

// bind joins the header, whose length is fixed, and aad.
func bind(head, aad []byte) []byte {
	return append(append(make([]byte, 0, header+len(aad)), head...), aad...)
}
