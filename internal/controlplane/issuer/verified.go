package issuer

import (
	"crypto/sha256"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/resource"
)

// maxVerified bounds how many tokens are remembered; when there are more, all are forgotten.
const maxVerified = 10_000

// verified remembers tokens that were found good, by their hash, until they expire: a client shows the same token with every
// request, and its signature costs more to check than anything else about it.
type verified struct {
	mu     sync.Mutex
	tokens map[[sha256.Size]byte]verifiedToken
}

type verifiedToken struct {
	kid       string // of the key that signed it
	principal resource.Principal
}

// get returns who a remembered token speaks for, as long as it has not expired and its key is still here.
func (v *verified) get(token string, now time.Time, keys *keyring) (resource.Principal, bool) {
	sum := sha256.Sum256([]byte(token))
	v.mu.Lock()
	defer v.mu.Unlock()
	t, ok := v.tokens[sum]
	if !ok {
		return resource.Principal{}, false
	}
	if keys.byKID[t.kid] == nil || !now.Before(t.principal.Expires) {
		delete(v.tokens, sum)
		return resource.Principal{}, false
	}
	return t.principal, true
}

func (v *verified) add(token, kid string, p resource.Principal) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.tokens == nil || len(v.tokens) >= maxVerified {
		v.tokens = map[[sha256.Size]byte]verifiedToken{}
	}
	v.tokens[sha256.Sum256([]byte(token))] = verifiedToken{kid, p}
}
