package blobs

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"gocloud.dev/blob/memblob"
)

// FuzzParsePath: what is accepted stays in its container's folder of the bucket and comes back from its key.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"/blob/abc/azureml/a/b", "/blob/abc/azureml/a%2Fb", "/blob/abc/azureml/%2e%2e/x", "/blob/abc/azureml/__0x2f__", "/blob/abc/c-d/ü !+%25"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		n, err := parsePath(path)
		if err != nil || n.name == "" {
			return
		}
		enc := encodeName(n.name)
		if got, ok := decodeName(enc); !ok || got != n.name {
			t.Fatalf("%q is encoded as %q, which decodes to %q", n.name, enc, got)
		}
		for _, p := range strings.Split(n.blockKey(), "/") {
			if p == "" || p == "." || p == ".." || len(p) > 255 || strings.ContainsAny(p, "\x00\\") || strings.Contains(p, "__0x") {
				t.Fatalf("%q has the key %q", path, n.blockKey())
			}
		}
		back, err := parsePath(n.path())
		if err != nil || back != n {
			t.Fatalf("%v has the path %q, which reads as %v, %v", n, n.path(), back, err)
		}
		for k := range n.name { // what a list looks for must begin the keys of what it should find
			if !strings.HasPrefix(enc, encodeName(n.name[:k])) {
				t.Fatalf("the prefix %q is encoded as %q, the name as %q", n.name[:k], encodeName(n.name[:k]), enc)
			}
		}
	})
}

// FuzzSAS: no query but the one that was signed passes.
func FuzzSAS(f *testing.F) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	front := New(Config{Bucket: memblob.OpenBucket(nil), PublicURL: "https://x", SASKey: []byte("k"), Clock: func() time.Time { return now }})
	good := front.SAS("abc", "azureml", "runs/one", "rl", time.Hour)
	_, q, _ := strings.Cut(good, "?")
	f.Add(q, "runs/one/log")
	f.Add("sv=1&sr=d&sdd=-1&sp=r&se=x&sig=", "a")
	f.Add("sr=c&sig=%ff&sig=a", "")
	want, _ := url.ParseQuery(q)
	f.Fuzz(func(t *testing.T, query, name string) {
		v, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		perms, err := front.checkSAS(v, blobName{"abc", "azureml", name}, true)
		if err != nil {
			return
		}
		for _, k := range append(signedFields, "sig") {
			if v.Get(k) != want.Get(k) {
				t.Fatalf("a query that was not signed passed: %q", query)
			}
		}
		if perms != "rl" || (name != "runs/one" && !strings.HasPrefix(name, "runs/one/")) {
			t.Fatalf("%q passed for %q with %q", query, name, perms)
		}
	})
}

// FuzzParseRange: a range that is accepted lies in the blob.
func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"bytes=0-", "bytes=-5", "bytes=3-9223372036854775807", "bytes=a-b"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, s string, size int64) {
		if size < 0 {
			return
		}
		got, partial, err := parseRange(s, size)
		if err == nil && partial && (got.start < 0 || got.start >= got.end || got.end > size) {
			t.Fatalf("%q of %d bytes is [%d, %d)", s, size, got.start, got.end)
		}
	})
}

// FuzzBlockList: the parser neither panics nor accepts unknown elements.
func FuzzBlockList(f *testing.F) {
	f.Add("<BlockList><Latest>AAAA</Latest></BlockList>")
	f.Add("<!DOCTYPE x [<!ENTITY e 'x'>]><BlockList><Latest>&e;</Latest></BlockList>")
	f.Fuzz(func(t *testing.T, s string) {
		refs, err := parseBlockList(strings.NewReader(s))
		if err != nil {
			return
		}
		for _, r := range refs {
			if len(r.id) == 0 || len(r.id) > 64 {
				t.Fatalf("block id of %d bytes", len(r.id))
			}
		}
	})
}
