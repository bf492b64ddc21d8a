package issuer

import (
	"slices"
	"time"
)

// How signing keys come and go:
//
//	made ──Settle──▶ signs ──age──▶ the next one signs ──keep──▶ deleted
//	└─ published ──────────────────────────────────────┘
//
// Who verifies offline learns a key while it settles; whoever holds the longest token of a key finds it until that token has ended.
const (
	// DefaultKeyAge is for how long a key signs.
	DefaultKeyAge = 90 * 24 * time.Hour
	// Settle is for how long a key is published before it signs: servers read keys each minute, readers of the key set keep it for an
	// hour, clusters are told within ten minutes, those that were away when they are back.
	Settle = 24 * time.Hour
	// LongestTTL is the longest that a token may live (those of online deployments do).
	LongestTTL = 90 * 24 * time.Hour
	// keep is for how long a key verifies after it signed last.
	keep = LongestTTL + 24*time.Hour
)

// KeyInfo is what is known of a signing key without opening it.
type KeyInfo struct {
	ID        string
	Made      time.Time
	SignsFrom time.Time
}

// plan decides what becomes of keys, given oldest first by SignsFrom: from when on a new one shall sign (zero: none is made), and which
// are deleted. With age 0 there is a first key and no other by itself.
func plan(keys []KeyInfo, now time.Time, age time.Duration) (signsFrom time.Time, drop []string) {
	if len(keys) == 0 {
		return now, nil
	}
	for i, k := range keys[1:] {
		if now.Sub(k.SignsFrom) > keep {
			drop = append(drop, keys[i].ID)
		}
	}
	if due := keys[len(keys)-1].SignsFrom.Add(age); age > 0 && !now.Before(due.Add(-Settle)) {
		signsFrom = later(due, now.Add(Settle))
	}
	return signsFrom, drop
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// signing is the index of the key, of those given oldest first, that signs now.
func signing(keys []KeyInfo, now time.Time) int {
	next := slices.IndexFunc(keys, func(k KeyInfo) bool { return k.SignsFrom.After(now) })
	if next < 0 {
		next = len(keys)
	}
	return max(next-1, 0)
}
