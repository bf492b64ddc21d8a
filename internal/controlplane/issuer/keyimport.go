package issuer

import (
	"context"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// typeTakenKey is the internal record type of keys that were taken over: one that has gone since must not come back from its file.
const typeTakenKey = "fairlead.internal/takenkeys"

func takenKey(kid string) string { return "/internal/takenkeys/" + kid }

// takeOver brings the key files of a folder into the store, where earlier releases kept them: the newest signed, all verified. Each is
// taken once. The files stay, for such a release that runs beside this one or again.
func (s KeyStore) takeOver(ctx context.Context, dir string, now time.Time) error {
	found, err := keyFiles(dir)
	if err != nil || len(found) == 0 {
		return err
	}
	err = s.Store.Update(ctx, func(tx store.Tx) error {
		recs, err := keyRecords(ctx, tx)
		if err != nil {
			return err
		}
		already := infos(recs)
		for _, k := range found {
			k.SignsFrom = takenFrom(already, k.Made, now)
			if err := s.take(ctx, tx, k, now); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("storing the keys of %s: %w", dir, err)
	}
	return nil
}

// takenFrom is from when on a key of a file signs. The first that come into a store sign as they did; one that would follow the key that
// signs now was made by a server of an earlier release since, and nobody else knows it.
func takenFrom(already []KeyInfo, made, now time.Time) time.Time {
	if len(already) > 0 && made.After(already[signing(already, now)].SignsFrom) {
		return now.Add(Settle)
	}
	return made
}

func (s KeyStore) take(ctx context.Context, tx store.Tx, k fileKey, now time.Time) error {
	if _, err := tx.Get(ctx, takenKey(k.ID)); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	_, err := tx.Get(ctx, signingKeyKey(k.ID))
	if errors.Is(err, store.ErrNotFound) {
		err = s.put(ctx, tx, k.KeyInfo, k.key)
	}
	if err != nil {
		return err
	}
	name, at := takenKey(k.ID), micros(now)
	_, err = tx.Put(ctx, store.Record{Key: name, ID: name, Type: typeTakenKey, Name: k.ID, Body: []byte("{}"),
		CreatedAt: at, UpdatedAt: at, CreatedBy: "fairlead", UpdatedBy: "fairlead"})
	return err
}

// fileKey is a key of a file, made when that was.
type fileKey struct {
	KeyInfo
	key *rsa.PrivateKey
}

func keyFiles(dir string) ([]fileKey, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.pem"))
	if err != nil {
		return nil, err
	}
	var keys []fileKey
	for _, f := range files {
		k, err := readKeyFile(f)
		if errors.Is(err, fs.ErrNotExist) { // it went just now
			continue
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	return keys, nil
}

func readKeyFile(file string) (fileKey, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return fileKey{}, err
	}
	fi, err := os.Stat(file)
	if err != nil {
		return fileKey{}, err
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "PRIVATE KEY" {
		return fileKey{}, fmt.Errorf("%s: no PEM block of type PRIVATE KEY", file)
	}
	key, err := parseKey(block.Bytes)
	if err != nil {
		return fileKey{}, fmt.Errorf("%s: %w", file, err)
	}
	return fileKey{KeyInfo{ID: keyID(&key.key.PublicKey), Made: fi.ModTime()}, key.key}, nil
}
