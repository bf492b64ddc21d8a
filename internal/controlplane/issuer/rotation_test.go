package issuer

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPlan(t *testing.T) {
	const day = 24 * time.Hour
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	key := func(id string, signs time.Duration) KeyInfo { return KeyInfo{ID: id, SignsFrom: now.Add(signs)} }
	for name, c := range map[string]struct {
		keys []KeyInfo
		age  time.Duration
		from time.Time
		drop []string
	}{
		"none":                                {nil, DefaultKeyAge, now, nil},
		"none, by hand":                       {nil, 0, now, nil},
		"young":                               {[]KeyInfo{key("a", -88*day)}, DefaultKeyAge, time.Time{}, nil},
		"old, by hand":                        {[]KeyInfo{key("a", -800*day)}, 0, time.Time{}, nil},
		"a day before its time":               {[]KeyInfo{key("a", -89*day)}, DefaultKeyAge, now.Add(day), nil},
		"a minute later still when it is due": {[]KeyInfo{key("a", -89*day-time.Minute)}, DefaultKeyAge, now.Add(Settle), nil},
		"after the servers stood still for a year": {[]KeyInfo{key("a", -365*day)}, DefaultKeyAge, now.Add(Settle), nil},
		"the next one settles":                     {[]KeyInfo{key("a", -89*day), key("b", day)}, DefaultKeyAge, time.Time{}, nil},
		"the next one signs":                       {[]KeyInfo{key("a", -91*day), key("b", -day)}, DefaultKeyAge, time.Time{}, nil},
		"tokens of the former may still live":      {[]KeyInfo{key("a", -130*day), key("b", -88*day), key("c", -time.Hour)}, DefaultKeyAge, time.Time{}, nil},
		"not a moment too early":                   {[]KeyInfo{key("a", -181*day), key("b", -91*day)}, 200 * day, time.Time{}, nil},
		"tokens of the former have ended":          {[]KeyInfo{key("a", -182*day), key("b", -91*day-time.Second)}, 200 * day, time.Time{}, []string{"a"}},
		"of several":                               {[]KeyInfo{key("a", -300*day), key("b", -200*day), key("c", -100*day), key("d", -10*day)}, DefaultKeyAge, time.Time{}, []string{"a", "b"}},
		"by hand, former ones go too":              {[]KeyInfo{key("a", -300*day), key("b", -200*day)}, 0, time.Time{}, []string{"a"}},
		"the clock went back":                      {[]KeyInfo{key("a", 10*day)}, DefaultKeyAge, time.Time{}, nil},
	} {
		from, drop := plan(c.keys, now, c.age)
		if !from.Equal(c.from) || !cmp.Equal(drop, c.drop) {
			t.Errorf("%s: from %v, drop %v", name, from, drop)
		}
	}
}

// TestPlanOverYears: whatever the age, there is always a key that signs, every key is published for Settle before it signs, and none goes
// while a token that it signed may live.
func TestPlanOverYears(t *testing.T) {
	for _, age := range []time.Duration{2 * Settle, 10 * 24 * time.Hour, DefaultKeyAge, 400 * 24 * time.Hour} {
		var keys []KeyInfo
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		until := map[string]time.Time{} // by which time the last token of a key has ended
		for step := range 3 * 365 * 4 {
			from, drop := plan(keys, now, age)
			for _, id := range drop {
				if now.Before(until[id]) {
					t.Fatalf("age %s, at %s: %s goes, though its last token lives until %s", age, now, id, until[id])
				}
				keys = append([]KeyInfo{}, keys[1:]...)
			}
			if !from.IsZero() {
				if len(keys) > 0 && from.Sub(now) < Settle {
					t.Fatalf("age %s, at %s: signs from %s", age, now, from)
				}
				keys = append(keys, KeyInfo{ID: time.Duration(step).String(), Made: now, SignsFrom: from})
			}
			signs := keys[signing(keys, now)]
			if signs.SignsFrom.After(now) || now.Sub(signs.SignsFrom) > age+6*time.Hour {
				t.Fatalf("age %s, at %s: signed by a key of %s", age, now, signs.SignsFrom)
			}
			until[signs.ID] = now.Add(LongestTTL + Leeway)
			now = now.Add(6 * time.Hour)
		}
		if most := int((keep+Settle)/age) + 3; len(keys) > most {
			t.Errorf("age %s: %d keys", age, len(keys))
		}
	}
}
