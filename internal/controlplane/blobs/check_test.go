package blobs

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/xml"
	"hash/crc64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/appendblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
)

func md5Of(s string) string {
	sum := md5.Sum([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// TestSumsAreChecked: content that differs from a sum which its client gave is not kept.
func TestSumsAreChecked(t *testing.T) {
	crc := make([]byte, 8)
	binary.LittleEndian.PutUint64(crc, crc64.Checksum([]byte("text"), crc64.MakeTable(0x9A6C9329AC4BC9B5)))
	rightCRC, wrongCRC := "x-ms-content-crc64: "+base64.StdEncoding.EncodeToString(crc), "x-ms-content-crc64: AAAAAAAAAAA="
	eachBucket(t, func(t *testing.T, w *world) {
		const block = "comp=block&blockid=AAAA"
		w.want(w.do("PUT", "log", "", "", appendBlob), 201, "")
		for _, c := range []struct {
			query, header string
			status        int
			code          string
		}{
			{"", "x-ms-blob-content-md5: " + md5Of("other"), 400, "Md5Mismatch"},
			{"", "Content-MD5: " + md5Of("other"), 400, "Md5Mismatch"},
			{block, "Content-MD5: " + md5Of("other"), 400, "Md5Mismatch"},
			{"", wrongCRC, 400, "Crc64Mismatch"},
			{block, wrongCRC, 400, "Crc64Mismatch"},
			{"comp=appendblock", wrongCRC, 400, "Crc64Mismatch"},
			{"", "x-ms-content-crc64: x", 400, "InvalidHeaderValue"},
			{"", "x-ms-blob-content-md5: " + md5Of("text"), 201, ""},
			{"", rightCRC, 201, ""},
			{block, rightCRC, 201, ""},
			{"comp=appendblock", rightCRC, 201, ""},
		} {
			name := "a"
			if c.query == "comp=appendblock" {
				name = "log"
			}
			if a := w.do("PUT", name, c.query, "text", blockBlob, c.header); a.status != c.status || a.header.Get("x-ms-error-code") != c.code {
				t.Errorf("%q with %s: status %d, code %q, want %d %q", c.query, c.header, a.status, a.header.Get("x-ms-error-code"), c.status, c.code)
			} else if k, v, _ := strings.Cut(c.header, ": "); c.status == 201 && k != "x-ms-blob-content-md5" && a.header.Get(k) != v {
				t.Errorf("%q with %s is confirmed by %q", c.query, c.header, a.header.Get(k))
			}
		}
		both := []string{blockBlob, "Content-MD5: " + md5Of("text"), "x-ms-blob-content-md5: " + md5Of("other")}
		w.want(w.do("PUT", "a", "", "text", both...), 400, "Md5Mismatch")
		if got := w.do("GET", "log", "", "").body; got != "text" {
			t.Errorf("the log holds %q", got)
		}
	})
}

// TestBlocksWithoutBytes: what cannot be staged as asked is refused, not staged as nothing.
func TestBlocksWithoutBytes(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		w.want(w.do("PUT", "a", "comp=block&blockid=AAAA", ""), 400, "InvalidHeaderValue")
		a := w.do("PUT", "a", "comp=block&blockid=AAAA", "", "x-ms-copy-source: https://elsewhere.test/b?sig=secret")
		if a.status < 400 || strings.Contains(a.body, "secret") {
			t.Errorf("%d %s", a.status, a.body)
		}
		w.want(w.do("GET", "a", "comp=blocklist&blocklisttype=all", ""), 404, "BlobNotFound")
	})
}

// TestMetadataNames: names are identifiers, so that a list with them is XML; one that was kept before that was checked is left out.
func TestMetadataNames(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		for _, name := range []string{"1x", "a-b", "a.b"} {
			w.want(w.do("PUT", "a", "", "x", blockBlob, "x-ms-meta-"+name+": v"), 400, "InvalidMetadata")
		}
		w.want(w.do("PUT", "a", "", "x", blockBlob, "x-ms-meta-_a1: v"), 201, "")
		n := blobName{acct, "azureml", "old"}
		opts, err := w.writerOptions(&request{Request: httptest.NewRequestWithContext(t.Context(), "PUT", "/", nil)})
		if err != nil {
			t.Fatal(err)
		}
		opts.Metadata[userMeta+"1x"] = "v"
		if err := w.write(t.Context(), n.blockKey(), []byte("x"), opts); err != nil {
			t.Fatal(err)
		}
		x := w.want(w.do("GET", "", "restype=container&comp=list&include=metadata", ""), 200, "").body
		var list struct{}
		if err := xml.Unmarshal([]byte(x), &list); err != nil || !strings.Contains(x, "<_a1>v</_a1>") {
			t.Errorf("%v: %s", err, x)
		}
	})
}

// TestAzureClientValidatesTransfers: the sums that the client computes are the server's.
func TestAzureClientValidatesTransfers(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		ctx, c, data := t.Context(), w.azContainer(), []byte("some text")
		crc := blob.TransferValidationTypeComputeCRC64()
		body := func() *bytes.Reader { return bytes.NewReader(data) }
		b := c.NewBlockBlobClient("b")
		if _, err := b.Upload(ctx, streaming.NopCloser(body()), &blockblob.UploadOptions{TransactionalValidation: crc}); err != nil {
			t.Error(err)
		}
		if _, err := b.StageBlock(ctx, "AAAA", streaming.NopCloser(body()), &blockblob.StageBlockOptions{TransactionalValidation: crc}); err != nil {
			t.Error(err)
		}
		a := c.NewAppendBlobClient("a")
		if _, err := a.Create(ctx, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := a.AppendBlock(ctx, streaming.NopCloser(body()), &appendblob.AppendBlockOptions{TransactionalValidation: crc}); err != nil {
			t.Error(err)
		}
		_, err := a.AppendBlock(ctx, streaming.NopCloser(body()), &appendblob.AppendBlockOptions{TransactionalValidation: blob.TransferValidationTypeCRC64(1)})
		if err == nil {
			t.Error("a wrong sum was taken")
		}
	})
}

// TestTimesAsConditions: a second is the least that they tell apart.
func TestTimesAsConditions(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		modified := w.want(w.do("PUT", "a", "", "x", blockBlob), 201, "").header.Get("Last-Modified")
		at, err := http.ParseTime(modified)
		if err != nil {
			t.Fatal(err)
		}
		before := at.Add(-time.Hour).Format(http.TimeFormat)
		for _, c := range []struct {
			method, header string
			want           int
		}{
			{"GET", "If-Modified-Since: " + modified, 304},
			{"GET", "If-Modified-Since: " + before, 200},
			{"GET", "If-Unmodified-Since: " + modified, 200},
			{"GET", "If-Unmodified-Since: " + before, 412},
			{"PUT", "If-Modified-Since: " + modified, 412},
			{"PUT", "If-Unmodified-Since: " + before, 412},
			{"DELETE", "If-Unmodified-Since: " + before, 412},
			{"PUT", "If-Unmodified-Since: " + modified, 201},
		} {
			if a := w.do(c.method, "a", "", "", blockBlob, c.header); a.status != c.want {
				t.Errorf("%s with %s: %d, want %d", c.method, c.header, a.status, c.want)
			}
		}
		first := w.want(w.do("PUT", "log", "", "", appendBlob), 201, "").header.Get("ETag")
		second := w.want(w.do("PUT", "log", "comp=appendblock", "one ", "If-Match: "+first), 201, "").header.Get("ETag")
		w.want(w.do("PUT", "log", "comp=appendblock", "lost", "If-Match: "+first), 412, "ConditionNotMet")
		w.want(w.do("PUT", "log", "comp=appendblock", "two", "If-Match: "+second), 201, "")
		if got := w.do("GET", "log", "", "").body; got != "one two" {
			t.Errorf("the log is %q", got)
		}
	})
}
