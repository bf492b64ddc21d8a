package blobs

import (
	"crypto/md5"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// TestDurable: what is acknowledged is on the disk: the content before it has its name, then attributes and folders.
func TestDurable(t *testing.T) {
	dir := t.TempDir()
	bucket, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	f := New(Config{Bucket: bucket, PublicURL: "https://x", SASKey: []byte("k")})
	var synced []string
	f.sync = func(name string) error {
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			t.Error(err)
		}
		if final, _, temp := strings.Cut(rel, "!."); temp && strings.HasSuffix(rel, ".tmp") {
			if _, err := os.Stat(filepath.Join(dir, final+"!")); err == nil {
				t.Errorf("%s had its name before its content was on the disk", final)
			}
			rel = final + "!.tmp"
		} else if temp {
			rel = final + "!.attrs"
		}
		synced = append(synced, rel)
		return syncPath(name)
	}
	send := func(name string) *httptest.ResponseRecorder {
		synced = nil
		r := httptest.NewRequest("PUT", f.BlobSAS(acct, "azureml", name, "cw", time.Hour), strings.NewReader("x"))
		r.Header.Set("x-ms-blob-type", "BlockBlob")
		w := httptest.NewRecorder()
		f.Handler().ServeHTTP(w, r)
		return w
	}
	put := func(name string) []string {
		t.Helper()
		if w := send(name); w.Code != 201 {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		return synced
	}
	key := blobName{acct, "azureml", "d/a"}.blockKey()
	folders := []string{}
	for at := filepath.Dir(key); ; at = filepath.Dir(at) {
		if folders = append(folders, at); at == "." {
			break
		}
	}
	plain := f.sync
	f.sync = func(name string) error { // the topmost folder fails: none below it may count as safe
		if name == dir {
			return errors.New("disk")
		}
		return plain(name)
	}
	if w := send("d/a"); w.Code < 500 {
		t.Errorf("with a disk that fails: %d %s", w.Code, w.Body)
	}
	f.sync = plain
	if err := os.Remove(filepath.Join(dir, key)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(append([]string{key + ".tmp", key + ".attrs"}, folders...), put("d/a")); diff != "" {
		t.Errorf("in new folders (-want +got):\n%s", diff)
	}
	key = blobName{acct, "azureml", "d/b"}.blockKey()
	if diff := cmp.Diff([]string{key + ".tmp", key + ".attrs", folders[0]}, put("d/b")); diff != "" {
		t.Errorf("in a known folder (-want +got):\n%s", diff)
	}
}

// TestAttributesAreReplacedWhole: nobody meets half of them, and a blob that was not to be replaced keeps its own.
func TestAttributesAreReplacedWhole(t *testing.T) {
	dir := t.TempDir()
	bucket, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	f := New(Config{Bucket: bucket, PublicURL: "https://x", SASKey: []byte("k")})
	attrs := func() os.FileInfo {
		t.Helper()
		info, err := os.Stat(filepath.Join(dir, "a!.attrs"))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	if err := f.write(t.Context(), "a!", []byte("1"), &blob.WriterOptions{ContentType: "text/1"}); err != nil {
		t.Fatal(err)
	}
	first := attrs()
	if err := f.write(t.Context(), "a!", []byte("2"), &blob.WriterOptions{ContentType: "text/2"}); err != nil {
		t.Fatal(err)
	}
	if os.SameFile(first, attrs()) {
		t.Error("the attributes were written over in place")
	}
	if err := f.write(t.Context(), "a!", []byte("3"), &blob.WriterOptions{ContentType: "text/3", IfNotExist: true}); !taken(err) {
		t.Errorf("error %v", err)
	}
	got, err := bucket.Attributes(t.Context(), "a!")
	if err != nil || got.ContentType != "text/2" || got.Size != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
	if err := f.write(t.Context(), "b!", nil, &blob.WriterOptions{IfNotExist: true}); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 4 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
}

// TestStopsAnywhere: whoever stops between two steps of a commit leaves a blob whose sum is its content's or unknown, and which can be
// written again.
func TestStopsAnywhere(t *testing.T) {
	dir := t.TempDir()
	bucket, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	f := New(Config{Bucket: bucket, PublicURL: "https://x", SASKey: []byte("k")})
	stop := errors.New("power")
	left := -1 // steps
	counted := func(do func(from, to string) error) func(from, to string) error {
		return func(from, to string) error {
			if left == 0 {
				return stop
			}
			left--
			return do(from, to)
		}
	}
	f.rename, f.link = counted(f.rename), counted(f.link)
	consistent := func(key, when string) string {
		t.Helper()
		data, err := bucket.ReadAll(t.Context(), key)
		if gcerrors.Code(err) == gcerrors.NotFound {
			return ""
		}
		attrs, err2 := bucket.Attributes(t.Context(), key)
		if err := errors.Join(err, err2); err != nil {
			t.Fatalf("%s %s: %v", key, when, err)
		}
		if sum := md5.Sum(data); len(attrs.MD5) > 0 && string(attrs.MD5) != string(sum[:]) {
			t.Errorf("%s %s holds %q with another content's sum", key, when, data)
		}
		return string(data)
	}
	write := func(key, data string, steps int, create bool) error {
		left = steps
		defer func() { left = -1 }()
		return f.write(t.Context(), key, []byte(data), &blob.WriterOptions{ContentType: "text/" + data, IfNotExist: create})
	}
	if err := write("a!", "old", -1, false); err != nil {
		t.Fatal(err)
	}
	for steps := 0; ; steps++ {
		when := fmt.Sprintf("after %d steps", steps)
		err := write("a!", "newer", steps, false)
		if got := consistent("a!", when); got != "old" && got != "newer" {
			t.Errorf("a! %s holds %q", when, got)
		}
		if err == nil {
			if attrs, err := bucket.Attributes(t.Context(), "a!"); err != nil || len(attrs.MD5) == 0 || attrs.ContentType != "text/newer" {
				t.Errorf("when all went well: %+v, %v", attrs, err)
			}
			break
		}
		if !errors.Is(err, stop) || steps > 10 {
			t.Fatal(err)
		}
		if err := write("a!", "old", -1, false); err != nil || consistent("a!", when+" and written again") != "old" {
			t.Fatal(err)
		}
	}
	for steps := 0; ; steps++ {
		key, when := fmt.Sprintf("c%d!", steps), fmt.Sprintf("made with %d steps", steps)
		err := write(key, "first", steps, true)
		consistent(key, when)
		if err == nil {
			break
		}
		if !errors.Is(err, stop) || steps > 10 {
			t.Fatal(err)
		}
		if err := write(key, "second", -1, true); err != nil && !taken(err) {
			t.Errorf("%s, then again: %v", when, err)
		}
		if got := consistent(key, when+" and again"); got != "second" && got != "first" {
			t.Errorf("%s, then again it holds %q", when, got)
		}
	}
}
