package blobs

import (
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
)

// TestAzureClientCopies: copies by the server, in every way that the client has, are whole when they are answered.
func TestAzureClientCopies(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		ctx, c := t.Context(), w.azContainer()
		content := strings.Repeat("0123456789", 1<<10)
		w.want(w.do("PUT", "from/a b.txt", "", content, blockBlob, "x-ms-blob-content-type: text/x", "x-ms-meta-k: v"), 201, "")
		source := w.BlobSAS(acct, "azureml", "from/a b.txt", "r", time.Hour)
		want := func(name, text, metadata string) {
			t.Helper()
			got := w.want(w.do("GET", name, "", ""), 200, "")
			if got.body != text || got.header.Get("x-ms-meta-k") != metadata || got.header.Get("Content-MD5") != md5Of(text) {
				t.Errorf("%s: %d bytes, %v", name, len(got.body), got.header)
			}
		}
		b := c.NewBlockBlobClient("to/started")
		started, err := b.StartCopyFromURL(ctx, source, nil)
		if err != nil || *started.CopyStatus != blob.CopyStatusTypeSuccess {
			t.Fatalf("%+v, %v", started, err)
		}
		p, err := b.GetProperties(ctx, nil)
		if err != nil || *p.CopyID != *started.CopyID || *p.CopyStatus != blob.CopyStatusTypeSuccess || *p.ContentType != "text/x" {
			t.Errorf("%+v, %v", p, err)
		}
		want("to/started", content, "v")
		if _, err := c.NewBlobClient("to/copied").CopyFromURL(ctx, source, &blob.CopyFromURLOptions{Metadata: map[string]*string{"k": to.Ptr("mine")}}); err != nil {
			t.Fatal(err)
		}
		want("to/copied", content, "mine")
		if _, err := c.NewBlockBlobClient("to/put").UploadBlobFromURL(ctx, source, nil); err != nil {
			t.Fatal(err)
		}
		want("to/put", content, "")
		parts := c.NewBlockBlobClient("to/parts")
		for id, offset := range map[string]int64{"AAAA": 5, "BBBB": 0} {
			if _, err := parts.StageBlockFromURL(ctx, id, source, &blockblob.StageBlockFromURLOptions{Range: blob.HTTPRange{Offset: offset, Count: 5}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := parts.CommitBlockList(ctx, []string{"AAAA", "BBBB"}, nil); err != nil {
			t.Fatal(err)
		}
		want("to/parts", "5678901234", "")
		same := azcore.ETag(w.do("HEAD", "from/a b.txt", "", "").header.Get("ETag"))
		unless := &blob.StartCopyFromURLOptions{SourceModifiedAccessConditions: &blob.SourceModifiedAccessConditions{SourceIfNoneMatch: &same}}
		if _, err := b.StartCopyFromURL(ctx, source, unless); !bloberror.HasCode(err, bloberror.SourceConditionNotMet) {
			t.Errorf("of a source that is as it was: %v", err)
		}
		if _, err := b.StartCopyFromURL(ctx, w.BlobSAS(acct, "azureml", "none", "r", time.Hour), nil); !bloberror.HasCode(err, bloberror.CannotVerifyCopySource) {
			t.Errorf("of what does not exist: %v", err)
		}
	})
}

// TestSourcesAreAuthorized: nobody copies what they may not read.
func TestSourcesAreAuthorized(t *testing.T) {
	b, err := Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, b)
	w.want(w.do("PUT", "secret", "", "text", blockBlob), 201, "")
	plain := w.URL(acct, "azureml", "secret")
	_, writeOnly, _ := strings.Cut(w.BlobSAS(acct, "azureml", "secret", "w", time.Hour), "?")
	_, other, _ := strings.Cut(w.BlobSAS(acct, "azureml", "other", "r", time.Hour), "?")
	for name, source := range map[string]string{
		"no signature": plain, "of another blob": plain + "?" + other, "to write": plain + "?" + writeOnly,
		"another server": "https://elsewhere.test/blob/" + acct + "/azureml/secret", "no address": "secret",
	} {
		a := w.do("PUT", "copy", "", "", "x-ms-copy-source: "+source)
		if a.status != 403 && a.status != 400 || strings.Contains(a.body, "sig=") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	w.want(w.do("GET", "copy", "", ""), 404, "BlobNotFound")
	mine := w.srv.URL + "/blob/" + acct + "/azureml/mine/copy"
	host := "http://" + acct + ".blob.localhost/azureml/secret"
	for _, source := range []string{plain, host} {
		w.want(w.raw("PUT", mine, "", "Authorization: Bearer good", "x-ms-copy-source: "+source), 202, "")
	}
	w.want(w.raw("PUT", mine, "", "Authorization: Bearer good", "x-ms-copy-source: "+strings.Replace(plain, acct, "flffffffffffff", 1)), 403, "CannotVerifyCopySource")
	w.want(w.do("PUT", "copy", "", "", "x-ms-copy-source: "+plain, "x-ms-copy-source-authorization: Bearer good"), 202, "")
	if got := w.do("GET", "copy", "", "").body; got != "text" {
		t.Errorf("the copy is %q", got)
	}
}
