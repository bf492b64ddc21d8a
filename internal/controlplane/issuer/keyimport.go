package issuer

import (
	"context"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// takeOver brings the key files of a folder into the store, where earlier releases kept them: the newest signed, all verified. Once
// they are stored the files are deleted, for a key that has gone must not come back.
func (s KeyStore) takeOver(ctx context.Context, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.pem"))
	if err != nil || len(files) == 0 {
		return err
	}
	type found struct {
		key *rsa.PrivateKey
		at  time.Time
	}
	var keys []found
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		fi, err := os.Stat(f)
		if err != nil {
			return err
		}
		block, _ := pem.Decode(raw)
		if block == nil || block.Type != "PRIVATE KEY" {
			return fmt.Errorf("%s: no PEM block of type PRIVATE KEY", f)
		}
		key, err := parseKey(block.Bytes)
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		keys = append(keys, found{key.key, fi.ModTime()})
	}
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		for _, k := range keys {
			id := keyID(&k.key.PublicKey)
			_, err := tx.Get(ctx, signingKeyKey(id))
			if errors.Is(err, store.ErrNotFound) {
				err = s.put(ctx, tx, KeyInfo{id, k.at, k.at}, k.key)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("storing the keys of %s: %w", dir, err)
	}
	var errs []error
	for _, f := range files {
		if err := os.Remove(f); !errors.Is(err, os.ErrNotExist) { // another server may have been faster
			errs = append(errs, err)
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
