package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// preamble begins a key file; then comes one key a line, the one that seals first.
const preamble = "# Fairlead seal keys. The first seals, all open. Keep a copy: without it no stored secret can be read.\n"

// LoadOrCreate reads the key file, made with mode 0600 and one random key (its folder with 0700) when absent. Of
// several processes that make it at once one wins and all read the same. A file that others may read is refused.
func LoadOrCreate(path string) (*Box, error) {
	keys, err := load(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, fmt.Errorf("making the folder of key file %q: %w", path, err)
		}
		err = write(path, []Key{NewKey()}, os.Link)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("making key file %q: %w", path, err)
		}
		keys, err = load(path)
	}
	if err != nil {
		return nil, fmt.Errorf("reading key file %q: %w", path, err)
	}
	return New(keys...)
}

// Rotate puts a new key at the head of an existing key file. Boxes loaded before do not know it: processes load the
// file again, and only then are values sealed with the new key to be expected.
func Rotate(path string) (*Box, error) {
	keys, err := load(path)
	if err != nil {
		return nil, fmt.Errorf("reading key file %q: %w", path, err)
	}
	keys = append([]Key{NewKey()}, keys...)
	if err := write(path, keys, os.Rename); err != nil {
		return nil, fmt.Errorf("writing key file %q: %w", path, err)
	}
	return New(keys...)
}

// load reads a key file. Reading by its group is allowed: that is how a Kubernetes Secret is mounted.
func load(path string) ([]Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		return nil, fmt.Errorf("mode %04o lets others at the keys; run: chmod 600 %q", mode, path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(data)
}

// Parse reads the text of a key file: one base64 key a line; empty lines and lines that begin with # say nothing.
func Parse(data []byte) ([]Key, error) {
	var keys []Key
	for n, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		b, err := base64.StdEncoding.Strict().DecodeString(line)
		if err != nil || len(b) != KeySize {
			return nil, fmt.Errorf("line %d is not a key of %d bytes in base64", n+1, KeySize)
		}
		keys = append(keys, Key(b))
	}
	if len(keys) == 0 {
		return nil, errors.New("it holds no key")
	}
	return keys, nil
}

// write makes a complete and synced file beside path and then places it there, so that no reader sees half a file.
func write(path string, keys []Key, place func(from, to string) error) (err error) {
	var b bytes.Buffer
	b.WriteString(preamble)
	for _, k := range keys {
		b.WriteString(base64.StdEncoding.EncodeToString(k[:]) + "\n")
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b.Bytes())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := place(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
