package blobclient

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/runtime/blobclient/blobtest"
)

// newClient has a clock that moves only by waiting.
func newClient(t *testing.T, s *blobtest.Server) (*Client, *atomic.Int64) {
	t.Helper()
	var clock atomic.Int64
	c, err := New(Config{Base: s.Base, HTTP: s.Client(), Token: func() (string, error) { return blobtest.Token, nil },
		Now:  func() time.Time { return time.Unix(0, clock.Load()) },
		Wait: func(ctx context.Context, d time.Duration) error { clock.Add(int64(d)); return ctx.Err() }})
	if err != nil {
		t.Fatal(err)
	}
	return c, &clock
}

func tempFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func content(t *testing.T, f *os.File) []byte {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDownloadAndUpload(t *testing.T) {
	for name, size := range map[string]int{"empty": 0, "small": 100, "one block": blockSize, "many blocks": 3*rangeSize + 17} {
		t.Run(name, func(t *testing.T) {
			s := blobtest.New(t)
			c, _ := newClient(t, s)
			data := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
			blob := Join(s.Base+"/acct/cont", "dir/a b#?%.bin")
			if err := c.Upload(t.Context(), blob, bytes.NewReader(data), int64(size)); err != nil {
				t.Fatal(err)
			}
			if got, _ := s.Get("acct/cont/dir/a b#?%.bin"); got != string(data) {
				t.Fatalf("stored %d bytes, not the %d sent", len(got), size)
			}
			f := tempFile(t)
			if err := c.Download(t.Context(), blob, f, -1, nil); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(content(t, f), data) {
				t.Error("what came back differs")
			}
		})
	}
}

// TestTwoWriters: an upload that becomes unwanted while its blocks are sent does not get the name, and none of its blocks gets into
// the other's content.
func TestTwoWriters(t *testing.T) {
	s := blobtest.New(t)
	c, _ := newClient(t, s)
	blob := Join(s.Base+"/acct/cont", "big")
	send := func(fill string, lastly func() error) error {
		asked := 0
		return c.UploadIf(t.Context(), blob, strings.NewReader(strings.Repeat(fill, blockSize+1)), blockSize+1, func(context.Context) error {
			if asked++; asked == 2 {
				return lastly()
			}
			return nil
		})
	}
	unwanted := errors.New("unwanted")
	err := send("n", func() error {
		if err := send("o", func() error { return unwanted }); !errors.Is(err, unwanted) {
			t.Errorf("the unwanted upload: %v", err)
		}
		return nil
	})
	if got, _ := s.Get("acct/cont/big"); err != nil || got != strings.Repeat("n", blockSize+1) {
		t.Errorf("%v; %d bytes, %d of them the other's", err, len(got), strings.Count(got, "o"))
	}
}

func TestDamagedDownload(t *testing.T) {
	s := blobtest.New(t)
	c, _ := newClient(t, s)
	for name, size := range map[string]int{"small": 10, "large": rangeSize + 1} {
		t.Run(name, func(t *testing.T) {
			s.PutRaw("acct/cont/x", make([]byte, size))
			err := c.Download(t.Context(), s.Base+"/acct/cont/x", tempFile(t), int64(size), make([]byte, 16))
			if err == nil || !strings.Contains(err.Error(), "is damaged") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestList(t *testing.T) {
	s := blobtest.New(t)
	c, _ := newClient(t, s)
	for _, n := range []string{"code/a.py", "code/pkg/b & c.py", "code/pkg/d.py", "code2/no", "code/z"} {
		s.Put("acct/cont/"+n, n)
	}
	var got []string
	err := c.List(t.Context(), s.Base+"/acct/cont/code", func(b Blob) error {
		got = append(got, b.Name)
		p, err := c.ReadSmall(t.Context(), b.URL, 100)
		if string(p) != "code/"+b.Name {
			t.Errorf("%s: %q %v", b.URL, p, err)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a.py", "pkg/b & c.py", "pkg/d.py", "z"}, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	for _, folder := range []string{"https://elsewhere.example/x/y", s.Base + "/acct", s.Base + "evil/acct/cont"} {
		if err := c.List(t.Context(), folder, nil); err == nil {
			t.Errorf("folder %s was listed", folder)
		}
	}
}

func TestRetries(t *testing.T) {
	tests := map[string]struct {
		fault   blobtest.Fault
		times   int
		wantErr string
		waited  time.Duration // at least
	}{
		"server error":       {blobtest.Fault{Status: 503}, 5, "", 2 * time.Second},
		"asked to wait":      {blobtest.Fault{Status: 429, Header: map[string]string{"Retry-After": "40"}}, 2, "", 80 * time.Second},
		"answer lost":        {blobtest.Fault{Lose: true}, 3, "", 0},
		"long outage":        {blobtest.Fault{Status: 500}, 2000, "", 5 * time.Hour},
		"too long":           {blobtest.Fault{Status: 500}, 1 << 30, "giving up after 24h0m0s", 23 * time.Hour},
		"denied for a while": {blobtest.Fault{Status: 403}, 3, "", 0},
		"denied":             {blobtest.Fault{Status: 403}, 1 << 30, "giving up after 2m0s", time.Minute},
		"not found":          {blobtest.Fault{Status: 404}, 1 << 30, "404 Not Found", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := blobtest.New(t)
			s.Put("acct/cont/x", "hello")
			left := tt.times
			s.SetFault(func(*http.Request) blobtest.Fault {
				if left--; left < 0 {
					return blobtest.Fault{}
				}
				return tt.fault
			})
			c, clock := newClient(t, s)
			b, err := c.ReadSmall(t.Context(), s.Base+"/acct/cont/x", 10)
			if tt.wantErr == "" && (err != nil || string(b) != "hello") {
				t.Errorf("got %q, %v", b, err)
			}
			if tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) {
				t.Errorf("error %v lacks %q", err, tt.wantErr)
			}
			if w := time.Duration(clock.Load()); w < tt.waited {
				t.Errorf("waited %s, less than %s", w, tt.waited)
			}
		})
	}
}

// TestDenialsAreCountedFromTheFirst: an outage before a denial, or between two, does not use up the time for denials.
func TestDenialsAreCountedFromTheFirst(t *testing.T) {
	outage := func(from, to time.Duration) func(time.Duration) bool {
		return func(at time.Duration) bool { return at >= from && at < to }
	}
	for name, tt := range map[string]struct {
		away    []func(time.Duration) bool
		allowed time.Duration // when denials end
		wantErr string
		until   time.Duration // gives up no earlier
	}{
		"denied for a while after an outage":    {[]func(time.Duration) bool{outage(0, time.Hour)}, time.Hour + time.Minute, "", 0},
		"denied for good after an outage":       {[]func(time.Duration) bool{outage(0, time.Hour)}, 1 << 60, "giving up after 2m0s", time.Hour + time.Minute},
		"an outage between denials starts anew": {[]func(time.Duration) bool{outage(time.Minute, time.Hour)}, time.Hour + time.Minute, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := blobtest.New(t)
			s.Put("acct/cont/x", "hello")
			c, clock := newClient(t, s)
			s.SetFault(func(*http.Request) blobtest.Fault {
				at := time.Duration(clock.Load())
				for _, away := range tt.away {
					if away(at) {
						return blobtest.Fault{Status: 503}
					}
				}
				if at < tt.allowed {
					return blobtest.Fault{Status: 403}
				}
				return blobtest.Fault{}
			})
			_, err := c.ReadSmall(t.Context(), s.Base+"/acct/cont/x", 10)
			if (tt.wantErr == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), tt.wantErr)) {
				t.Errorf("error %v, want %q", err, tt.wantErr)
			}
			if at := time.Duration(clock.Load()); at < tt.until || at > 2*time.Hour {
				t.Errorf("ended at %s", at)
			}
		})
	}
}

func TestCreateHasOneWinner(t *testing.T) {
	s := blobtest.New(t)
	c, _ := newClient(t, s)
	blob := s.Base + "/acct/cont/claim"
	if err := c.Create(t.Context(), blob, []byte("a")); err != nil {
		t.Fatal(err)
	}
	var se *StatusError
	if err := c.Create(t.Context(), blob, []byte("b")); !errors.As(err, &se) || !se.Exists() {
		t.Errorf("error %v", err)
	}
}

func TestAppend(t *testing.T) {
	s := blobtest.New(t)
	c, _ := newClient(t, s)
	blob := s.Base + "/acct/cont/log"
	for range 2 { // making it again tells the length
		if _, err := c.CreateAppend(t.Context(), blob, "text/plain"); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Append(t.Context(), blob, 0, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	var se *StatusError
	if err := c.Append(t.Context(), blob, 0, []byte("hello")); !errors.As(err, &se) || !se.WrongPosition() {
		t.Errorf("error %v", err)
	}
	if n, err := c.CreateAppend(t.Context(), blob, "text/plain"); n != 5 || err != nil {
		t.Errorf("length %d, %v", n, err)
	}
}

func TestFetchElsewhereSendsNoToken(t *testing.T) {
	other := blobtest.New(t)
	var auth atomic.Value
	other.SetFault(func(r *http.Request) blobtest.Fault {
		auth.Store(r.Header.Get("Authorization"))
		return blobtest.Fault{Status: 302, Header: map[string]string{"Location": "file:///etc/passwd"}}
	})
	c, _ := newClient(t, blobtest.New(t))
	f := tempFile(t)
	if err := c.Fetch(t.Context(), other.Base+"/x", f); err == nil {
		t.Error("a redirect to file: was followed")
	}
	if a := auth.Load(); a != "" {
		t.Errorf("Authorization was %q", a)
	}
	for _, u := range []string{"file:///etc/passwd", "ftp://x/y", ""} {
		if err := c.Fetch(t.Context(), u, f); err == nil {
			t.Errorf("%q was fetched", u)
		}
	}
}

func TestErrorsHideSignatures(t *testing.T) {
	s := blobtest.New(t)
	c, _ := newClient(t, s)
	c.cfg.RetryFor = time.Nanosecond
	for _, u := range []string{s.Base + "/acct/cont/x?sig=SECRET", "http://127.0.0.1:1/blob/x?sig=SECRET"} {
		_, err := c.Head(t.Context(), u)
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("error %v", err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, base := range []string{"", "/blob", "ftp://x", "http://"} {
		if _, err := New(Config{Base: base}); err == nil {
			t.Errorf("base %q was accepted", base)
		}
	}
}

func FuzzList(f *testing.F) {
	f.Add([]byte(`<EnumerationResults><Blobs><Blob><Name Encoded="true">a%2Fb</Name><Properties><Content-Length>3</Content-Length></Properties></Blob></Blobs></EnumerationResults>`), "a/")
	f.Fuzz(func(t *testing.T, doc []byte, prefix string) {
		page, err := parseList(doc)
		if err != nil {
			return
		}
		for _, b := range page.blobs("http://h/blob/a/c", prefix) {
			if b.Name == "" || !strings.HasPrefix(b.URL, "http://h/blob/a/c/") {
				t.Errorf("blob %+v", b)
			}
		}
	})
}
