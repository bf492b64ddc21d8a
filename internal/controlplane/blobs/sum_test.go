package blobs

import (
	"encoding/base64"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gocloud.dev/blob"
)

// TestContentsHaveSums: the MD5 of every block blob is known and right, however it came.
func TestContentsHaveSums(t *testing.T) {
	large := strings.Repeat("0123456789abcdef", 6<<16) // more than S3 takes in one part
	id := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	eachBucket(t, func(t *testing.T, w *world) {
		w.want(w.do("PUT", "small", "", "text", blockBlob), 201, "")
		w.want(w.do("PUT", "large", "", large, blockBlob), 201, "")
		w.want(w.do("PUT", "blocks", "comp=block&blockid="+id("1"), large), 201, "")
		w.want(w.do("PUT", "blocks", "comp=block&blockid="+id("2"), "end"), 201, "")
		list := "<BlockList><Latest>" + id("1") + "</Latest><Latest>" + id("2") + "</Latest></BlockList>"
		w.want(w.do("PUT", "blocks", "comp=blocklist", list, "x-ms-blob-content-md5: "+md5Of("other")), 400, "Md5Mismatch")
		w.want(w.do("PUT", "blocks", "comp=blocklist", list), 201, "")
		check := func() {
			t.Helper()
			listed := w.want(w.do("GET", "", "restype=container&comp=list", ""), 200, "").body
			for name, content := range map[string]string{"small": "text", "large": large, "blocks": large + "end"} {
				got := w.want(w.do("GET", name, "", ""), 200, "")
				if got.body != content || got.header.Get("Content-MD5") != md5Of(content) || !strings.Contains(listed, "<Content-MD5>"+md5Of(content)+"</Content-MD5>") {
					t.Errorf("%s: %d bytes, MD5 %q, want %q; listed %s", name, len(got.body), got.header.Get("Content-MD5"), md5Of(content), listed)
				}
			}
		}
		check()
		for _, name := range []string{"small", "large", "blocks"} {
			w.want(w.do("PUT", name, "comp=metadata", "", "x-ms-meta-k: v"), 200, "")
			w.want(w.do("PUT", name, "comp=properties", "", "x-ms-blob-content-type: x/y"), 200, "")
			w.want(w.do("PUT", name, "comp=properties", "", "x-ms-blob-content-md5: "+md5Of("other")), 400, "Md5Mismatch")
		}
		w.sums.m = nil
		check()
		blocks := w.want(w.do("GET", "blocks", "comp=blocklist", ""), 200, "").body
		if !strings.Contains(blocks, id("2")) {
			t.Errorf("blocks %s", blocks)
		}
	})
}

// TestETagsOfS3AreNoSums: they are not where S3 encrypts with keys of its own, which this store does not.
func TestETagsOfS3AreNoSums(t *testing.T) {
	w := newWorld(t, openS3(t))
	n := blobName{acct, "azureml", "old"}
	if err := w.cfg.Bucket.WriteAll(t.Context(), n.blockKey(), []byte("text"), &blob.WriterOptions{ContentType: "x/y"}); err != nil {
		t.Fatal(err)
	}
	got := w.want(w.do("GET", "old", "", ""), 200, "")
	if sum := got.header.Get("Content-MD5"); sum != "" || got.body != "text" {
		t.Errorf("%q with MD5 %q", got.body, sum)
	}
	if list := w.do("GET", "", "restype=container&comp=list", "").body; strings.Contains(list, "Content-MD5") || !strings.Contains(list, "old") {
		t.Errorf("list %s", list)
	}
}

// TestClaimedSums: an MD5 that an earlier release took on trust keeps nobody from reading.
func TestClaimedSums(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		opts := &blob.WriterOptions{ContentType: "x/y", Metadata: map[string]string{metaClaimed: md5Of("other")}}
		if err := w.write(t.Context(), blobName{acct, "azureml", "old"}.blockKey(), []byte("text"), opts); err != nil {
			t.Fatal(err)
		}
		sum := md5Of("text")
		if w.s3 { // nobody else knows one
			sum = md5Of("other")
		}
		reads := func(name, sum string) {
			t.Helper()
			if got := w.want(w.do("GET", name, "", ""), 200, ""); got.body != "text" || got.header.Get("Content-MD5") != sum {
				t.Errorf("%s: %q with MD5 %q, want %q", name, got.body, got.header.Get("Content-MD5"), sum)
			}
		}
		reads("old", sum)
		w.want(w.do("PUT", "old", "comp=metadata", "", "x-ms-meta-k: v"), 200, "")
		reads("old", sum)
		w.want(w.do("PUT", "copy", "", "", "x-ms-copy-source: "+strings.Replace(w.SAS(acct, "azureml", "", "r", 1<<40), "azureml", "azureml/old", 1)), 202, "")
		reads("copy", md5Of("text"))
		w.want(w.do("PUT", "old", "comp=properties", "", "x-ms-blob-content-md5: "+md5Of("text")), 200, "")
		reads("old", md5Of("text"))
	})
}

// TestDamageIsNotServed: a reader of a whole blob never takes for it what the disk made of it.
func TestDamageIsNotServed(t *testing.T) {
	dir := t.TempDir()
	bucket, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, bucket)
	content := strings.Repeat("x", 1<<20)
	w.want(w.do("PUT", "a", "", content, blockBlob), 201, "")
	file, err := os.OpenFile(filepath.Join(dir, blobName{acct, "azureml", "a"}.blockKey()), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte("y"), 1000); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file.Name(), info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	base, sig, _ := strings.Cut(w.SAS(acct, "azureml", "", "r", 1<<40), "?")
	res, err := w.srv.Client().Get(base + "/a?" + sig)
	if err != nil {
		return // the connection broke before the header was read
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Errorf("%d and %d bytes, without an error", res.StatusCode, n)
	}
}
