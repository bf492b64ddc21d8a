package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/postgres"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
)

// besides is a command that works on a server's store, beside servers that run.
type besides struct {
	cfg Config
	fs  *pflag.FlagSet
}

func (b *besides) bind(fs *pflag.FlagSet) {
	b.fs = fs
	fs.StringVar(&b.cfg.DataDir, "data-dir", defaultDataDir(), "the server's data folder")
	fs.StringVar(&b.cfg.Store, "store", "sqlite", "where the server keeps resources, as it was told")
}

// with opens the store, and the key of what is sealed in it, for the time of fn. It makes none and does not change its schema: a start of
// the server does, and one of an earlier release may run on it.
func (b *besides) with(ctx context.Context, fn func(store.Store, *seal.Box) error) (err error) {
	b.cfg.flags = b.fs
	if err := b.cfg.FromEnv(os.LookupEnv); err != nil {
		return err
	}
	kind, where, err := b.cfg.storeTarget()
	if err != nil {
		return err
	}
	file := filepath.Join(b.cfg.DataDir, "seal.key")
	for _, name := range []string{file, where} {
		if name == where && kind != "sqlite" {
			continue
		}
		if _, err := os.Stat(name); err != nil {
			return fmt.Errorf("no server has been started with this data folder and store (%w); give its --data-dir and --store", err)
		}
	}
	box, err := seal.LoadOrCreate(file)
	if err != nil {
		return fmt.Errorf("loading key of stored secrets: %w", err)
	}
	st, err := openStore(ctx, b.cfg, sqlite.OpenCurrent, postgres.OpenCurrent)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if _, err := readTenant(ctx, st); err != nil {
		return fmt.Errorf("no server has been started with this store: %w", err)
	}
	return fn(st, box)
}
