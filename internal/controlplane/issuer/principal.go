package issuer

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/argon2"

	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/agentkey"
)

// TypeServicePrincipal is the internal record type of service principals; it is not in the registry and never on the wire.
const TypeServicePrincipal = "fairlead.internal/serviceprincipals"

// ServicePrincipal is an application that may ask for tokens.
type ServicePrincipal struct {
	ClientID    string `json:"clientId"`
	ObjectID    string `json:"objectId"`
	DisplayName string `json:"displayName"`
	// PublicKey is for private_key_jwt, as agentkey.Parse reads it; "" when the principal has a secret only.
	PublicKey string `json:"publicKey,omitempty"`
}

// secretHash is argon2id of a client secret.
type secretHash struct {
	Salt   []byte `json:"salt"`
	Hash   []byte `json:"hash"`
	Time   uint32 `json:"time"`
	Memory uint32 `json:"memory"` // KiB
}

// Cost of argon2id: OWASP's second profile. Secrets are 256 random bits, so this is for those who choose their own.
const argonTime, argonMemory = 2, 19 * 1024

func hashSecret(secret string) (secretHash, error) {
	h := secretHash{Salt: make([]byte, 16), Time: argonTime, Memory: argonMemory}
	if _, err := rand.Read(h.Salt); err != nil {
		return h, fmt.Errorf("making salt: %w", err)
	}
	h.Hash = argon2.IDKey([]byte(secret), h.Salt, h.Time, h.Memory, 1, 32)
	return h, nil
}

func (h secretHash) matches(secret string) bool {
	got := argon2.IDKey([]byte(secret), h.Salt, max(h.Time, 1), h.Memory, 1, 32)
	return subtle.ConstantTimeCompare(got, h.Hash) == 1
}

func principalKey(clientID string) string {
	return "/internal/serviceprincipals/" + strings.ToLower(clientID)
}

// NewSecret is 256 random bits in base64url.
func NewSecret() (string, error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("making secret: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// CreateServicePrincipal stores sp with its secret's hash in tx. Empty ids are filled with random ones; it returns what was stored.
func CreateServicePrincipal(ctx context.Context, tx store.Tx, sp ServicePrincipal, secret string, now time.Time) (ServicePrincipal, error) {
	if sp.ClientID == "" {
		sp.ClientID = uuid.NewString()
	}
	if sp.ObjectID == "" {
		sp.ObjectID = uuid.NewString()
	}
	if sp.PublicKey != "" {
		if _, err := agentkey.Parse(sp.PublicKey); err != nil {
			return sp, fmt.Errorf("public key of %q: %w", sp.DisplayName, err)
		}
	}
	body, err := json.Marshal(sp)
	if err != nil {
		return sp, fmt.Errorf("encoding service principal: %w", err)
	}
	key := principalKey(sp.ClientID)
	rec := store.Record{Key: key, ID: key, Type: TypeServicePrincipal, Name: sp.ClientID, Body: body, CreatedAt: now, UpdatedAt: now, CreatedBy: "fairlead", UpdatedBy: "fairlead"}
	if secret != "" {
		h, err := hashSecret(secret)
		if err != nil {
			return sp, err
		}
		if rec.Internal, err = json.Marshal(h); err != nil {
			return sp, fmt.Errorf("encoding hash: %w", err)
		}
	}
	if _, err := tx.Put(ctx, rec); err != nil {
		return sp, fmt.Errorf("storing service principal %s: %w", sp.ClientID, err)
	}
	return sp, nil
}

// FindServicePrincipal reads a service principal; the error is store.ErrNotFound when there is none.
func FindServicePrincipal(ctx context.Context, r store.Reader, clientID string) (ServicePrincipal, error) {
	sp, _, err := findPrincipal(ctx, r, clientID)
	return sp, err
}

func findPrincipal(ctx context.Context, r store.Reader, clientID string) (sp ServicePrincipal, h secretHash, err error) {
	rec, err := r.Get(ctx, principalKey(clientID))
	if err != nil {
		return sp, h, err
	}
	err = json.Unmarshal(rec.Body, &sp)
	if len(rec.Internal) > 0 {
		err = errors.Join(err, json.Unmarshal(rec.Internal, &h))
	}
	if err != nil {
		err = fmt.Errorf("decoding %s: %w", rec.Key, err)
	}
	return sp, h, err
}

// dummyHash takes as long as a real one, so that time does not tell which client ids exist.
var dummyHash = secretHash{Salt: make([]byte, 16), Hash: make([]byte, 32), Time: argonTime, Memory: argonMemory}
