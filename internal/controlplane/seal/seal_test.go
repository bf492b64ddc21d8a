package seal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func box(t testing.TB, keys ...Key) *Box {
	t.Helper()
	b, err := New(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBox(t *testing.T) {
	b := box(t, NewKey())
	plain, aad := []byte("pass phrase"), []byte("/subscriptions/s|auth")
	sealed := b.Seal(plain, aad)
	if len(sealed) != len(plain)+Overhead || bytes.Contains(sealed, plain) {
		t.Errorf("sealed %x", sealed)
	}
	if bytes.Equal(sealed, b.Seal(plain, aad)) {
		t.Error("two seals of one value are equal")
	}
	if got, err := b.Open(sealed, aad); err != nil || !bytes.Equal(plain, got) {
		t.Errorf("Open = %q, %v", got, err)
	}
	if got, err := b.Open(b.Seal(nil, nil), nil); err != nil || len(got) != 0 {
		t.Errorf("Open of nothing = %q, %v", got, err)
	}
	flip := func(i int) []byte { c := bytes.Clone(sealed); c[i] ^= 1; return c }
	for name, c := range map[string]struct {
		sealed, aad []byte
		want        error
	}{
		"other aad":      {sealed, []byte("/subscriptions/t|auth"), ErrSealed},
		"no aad":         {sealed, nil, ErrSealed},
		"other version":  {flip(0), aad, ErrSealed},
		"other key id":   {flip(1), aad, ErrKey},
		"other nonce":    {flip(header), aad, ErrSealed},
		"other text":     {flip(header + 12), aad, ErrSealed},
		"other tag":      {flip(len(sealed) - 1), aad, ErrSealed},
		"longer":         {append(bytes.Clone(sealed), 0), aad, ErrSealed},
		"empty":          {nil, aad, ErrSealed},
		"moved boundary": {sealed[:len(sealed)-1], append([]byte{sealed[len(sealed)-1]}, aad...), ErrSealed},
	} {
		if got, err := b.Open(c.sealed, c.aad); !errors.Is(err, c.want) || got != nil {
			t.Errorf("%s: %q, %v; want %v", name, got, err, c.want)
		}
	}
	for n := range sealed {
		if _, err := b.Open(sealed[:n], aad); !errors.Is(err, ErrSealed) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestBox_Rotation(t *testing.T) {
	older, newer := NewKey(), NewKey()
	was, is := box(t, older), box(t, newer, older)
	sealed := was.Seal([]byte("x"), nil)
	if got, err := is.Open(sealed, nil); err != nil || string(got) != "x" {
		t.Errorf("opening with an older key: %q, %v", got, err)
	}
	if !is.Stale(sealed) || is.Stale(is.Seal([]byte("x"), nil)) || was.Stale(sealed) {
		t.Error("Stale tells the wrong ones")
	}
	if _, err := was.Open(is.Seal([]byte("x"), nil), nil); !errors.Is(err, ErrKey) {
		t.Errorf("opening without the key: %v, want ErrKey", err)
	}
	if _, err := New(); err == nil {
		t.Error("a box of no keys")
	}
	if _, err := New(older, newer, older); err == nil {
		t.Error("a box with a key twice")
	}
	if s := fmt.Sprintf("%v %+v %s %#v", older, older, older, older); strings.Count(s, older.ID()) != 4 {
		t.Errorf("a key prints as %s", s)
	}
}

func TestLoadOrCreate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "seal.key")
	var boxes [8]*Box
	var wg sync.WaitGroup
	for i := range boxes {
		wg.Go(func() {
			var err error
			if boxes[i], err = LoadOrCreate(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	sealed := boxes[0].Seal([]byte("x"), nil)
	for i, b := range boxes {
		if _, err := b.Open(sealed, nil); err != nil {
			t.Errorf("box %d has another key: %v", i, err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	rotated, err := Rotate(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []*Box{rotated, again} {
		if _, err := b.Open(sealed, nil); err != nil || !b.Stale(sealed) {
			t.Errorf("after Rotate: stale %v, %v", b.Stale(sealed), err)
		}
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreate(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file for all to read: %v", err)
	}
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte(preamble+"c2hvcnQ=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadOrCreate(bad); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("a short key: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	b := box(f, Key{1}, Key{2})
	f.Add(b.Seal([]byte("plain"), []byte("aad")), []byte("aad"))
	f.Add([]byte{1}, []byte(nil))
	f.Fuzz(func(t *testing.T, sealed, aad []byte) {
		if plain, err := b.Open(sealed, aad); err == nil && len(sealed) != len(plain)+Overhead {
			t.Errorf("%x opens to %x", sealed, plain)
		}
		got, err := b.Open(b.Seal(sealed, aad), aad)
		if err != nil || !bytes.Equal(sealed, got) {
			t.Errorf("round trip: %x, %v", got, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(preamble + "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"))
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := Parse(data)
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%d keys, %v", len(keys), err)
		}
	})
}
