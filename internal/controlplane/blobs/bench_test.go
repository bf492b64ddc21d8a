package blobs

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gocloud.dev/blob"
)

// BenchmarkAppend appends 1 KiB to a log of 100 MiB in a folder.
func BenchmarkAppend(b *testing.B) {
	bucket, err := Open(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer bucket.Close()
	f := New(Config{Bucket: bucket, PublicURL: "https://x", SASKey: []byte("k")})
	h := f.Handler()
	u := f.BlobSAS(acct, "azureml", "log", "acw", time.Hour)
	put := func(query, body string) {
		r := httptest.NewRequest("PUT", u+query, strings.NewReader(body))
		r.Header.Set("x-ms-blob-type", "AppendBlob")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 201 {
			b.Fatalf("%d %s", w.Code, w.Body)
		}
	}
	put("", "")
	for range 25 {
		put("&comp=appendblock", strings.Repeat("x", maxAppend))
	}
	line := strings.Repeat("x", 1<<10)
	for b.Loop() {
		put("&comp=appendblock", line)
	}
}

// BenchmarkGet reads a blob of 64 MiB from a folder.
func BenchmarkGet(b *testing.B) {
	bucket, err := Open(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer bucket.Close()
	f := New(Config{Bucket: bucket, PublicURL: "https://x", SASKey: []byte("k")})
	n := blobName{acct, "azureml", "x"}
	if err := bucket.WriteAll(b.Context(), n.blockKey(), make([]byte, 64<<20), &blob.WriterOptions{ContentType: "x/y"}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(64 << 20)
	for b.Loop() {
		rc, _, err := f.NewReader(b.Context(), acct, "azureml", "x", 0)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, rc); err != nil {
			b.Fatal(err)
		}
		rc.Close()
	}
}
