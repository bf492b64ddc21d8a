package tracking

import (
	"context"
	"errors"
	"testing"
)

// TestHistoriesTakeTurns: a history is read when fewer than maxReads are being read, and whoever is gone waits no more.
func TestHistoriesTakeTurns(t *testing.T) {
	s := New(Config{})
	for range maxReads {
		s.reads <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&call{Server: s, ctx: ctx}).history("id", "key"); !errors.Is(err, context.Canceled) {
		t.Errorf("one that gave up: %v", err)
	}
}
