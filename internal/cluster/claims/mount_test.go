package claims

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/runtime/blobclient/blobtest"
)

// TestWay: a token is renewed at half of its time, used while the control plane is away, and never once it is over.
func TestWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, away := 0, error(nil)
		w := &way{ctx: t.Context(), ask: func(context.Context, link.FolderRequest) (link.Folder, error) {
			asked++
			return link.Folder{Token: string(rune('a' + asked - 1)), ExpiresIn: 3600}, away
		}}
		expect := func(token string, times int) {
			t.Helper()
			if got, err := w.token(); err != nil || got != token || asked != times {
				t.Errorf("%q, %v, asked %d times; want %q, %d", got, err, asked, token, times)
			}
		}
		expect("a", 1)
		time.Sleep(29 * time.Minute) //nolint:forbidigo // the bubble's time
		expect("a", 1)
		time.Sleep(2 * time.Minute) //nolint:forbidigo // the bubble's time
		expect("b", 2)
		away = errors.New("away")
		time.Sleep(31 * time.Minute) //nolint:forbidigo // the bubble's time
		expect("b", 3)
		expect("b", 3)               // not at every request
		time.Sleep(30 * time.Minute) //nolint:forbidigo // the bubble's time
		if got, err := w.token(); err == nil {
			t.Errorf("%q after its end", got)
		}
		away = nil
		expect("e", 5)
	})
}

func TestEmpty(t *testing.T) {
	b := blobtest.New(t)
	for _, name := range []string{"acct/data/claims/train/pvc-1/a", "acct/data/claims/train/pvc-1/b/c", "acct/data/claims/train/pvc-10/a", "acct/data/other"} {
		b.Put(name, "x")
	}
	empty := Empty(b.Client(), slog.New(slog.DiscardHandler))
	f := link.Folder{URL: b.Base + "/acct/data", BlobBase: b.Base, Token: blobtest.Token, ExpiresIn: 60}
	for _, folder := range []string{"", "/", ".", "claims/..", "claims//pvc-1"} {
		if err := empty(t.Context(), f, folder); err == nil {
			t.Errorf("folder %q is taken", folder)
		}
	}
	if err := empty(t.Context(), f, "claims/train/pvc-1"); err != nil {
		t.Fatal(err)
	}
	if left := strings.Join(b.Names("acct/data/"), " "); strings.Contains(left, "pvc-1/") || !strings.Contains(left, "pvc-10/a") || !strings.Contains(left, "other") {
		t.Errorf("left: %s", left)
	}
}

func TestMountRefusesAFolder(t *testing.T) {
	if err := (Mount{Folder: "../x"}).Run(t.Context(), func() {}); err == nil || !strings.Contains(err.Error(), `--folder is "../x"`) {
		t.Error(err)
	}
}
