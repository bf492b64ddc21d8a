package sqlstore

import (
	"context"
	"fmt"

	"github.com/pressly/goose/v3"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// Migrate brings a database's schema up to date.
func Migrate(ctx context.Context, p *goose.Provider) error {
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrating: %w", err)
	}
	return nil
}

// Current refuses a database whose schema Migrate would change, with store.ErrOldSchema.
func Current(ctx context.Context, p *goose.Provider) error {
	old, err := p.HasPending(ctx)
	if err == nil && old {
		err = store.ErrOldSchema
	}
	if err != nil {
		return fmt.Errorf("looking at the schema: %w", err)
	}
	return nil
}
