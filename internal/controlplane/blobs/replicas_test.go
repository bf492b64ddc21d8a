package blobs

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
)

// eachPair runs a test with two fronts that share a bucket, as two control planes do.
func eachPair(t *testing.T, test func(t *testing.T, a, b *world)) {
	pair := func(t *testing.T, bucket *blob.Bucket) {
		var locks keyLocks
		test(t, newReplica(t, bucket, &locks), newReplica(t, bucket, &locks))
	}
	t.Run("memory", func(t *testing.T) { pair(t, memblob.OpenBucket(nil)) })
	t.Run("folder", func(t *testing.T) {
		b, err := Open(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		pair(t, b)
	})
	t.Run("s3", func(t *testing.T) { pair(t, openS3(t)) })
}

// TestETags: every write has one of its own, however soon it follows, and lists have the same.
func TestETags(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		seen := map[string]int{}
		for i := range 20 {
			etag := w.want(w.do("PUT", "a", "", fmt.Sprintf("%02d", i), blockBlob), 201, "").header.Get("ETag")
			if was, ok := seen[etag]; ok {
				t.Fatalf("writes %d and %d share the ETag %s", was, i, etag)
			}
			seen[etag] = i
			if i == 19 {
				list := w.do("GET", "", "restype=container&comp=list", "").body
				if !strings.Contains(list, "<Etag>"+strings.Trim(etag, `"`)+"</Etag>") {
					t.Errorf("the ETag is %s, the list says %s", etag, list)
				}
			}
		}
		clear(seen)
		for i := range 5 { // an append blob that is made again
			etag := w.want(w.do("PUT", "log", "", "", appendBlob), 201, "").header.Get("ETag")
			if was, ok := seen[etag]; ok {
				t.Fatalf("logs %d and %d share the ETag %s", was, i, etag)
			}
			seen[etag] = i
		}
	})
}

// TestTwoControlPlanes_ConditionalWrites: of all who read the same, one writes.
func TestTwoControlPlanes_ConditionalWrites(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b *world) {
		a.want(a.do("PUT", "counter", "", "0", blockBlob), 201, "")
		var wg sync.WaitGroup
		var mu sync.Mutex
		added := 0
		writers := []*world{a, b, a, b}
		if a.s3 { // the tests' store is no S3 there: it replaces an object's ETag before its content, so readers take turns with writers
			writers = writers[:1]
		}
		for k, w := range writers {
			wg.Go(func() {
				for done := 0; done < 4; {
					got := w.do("GET", "counter", "", "")
					n, _ := strconv.Atoi(got.body)
					switch res := w.do("PUT", "counter", "", strconv.Itoa(n+1), blockBlob, "If-Match: "+got.header.Get("ETag")); res.status {
					case 201:
						done++
						mu.Lock()
						added++
						mu.Unlock()
					case 412:
					default:
						t.Errorf("writer %d: %+v", k, res)
						return
					}
				}
			})
		}
		wg.Wait()
		if got := a.do("GET", "counter", "", "").body; got != strconv.Itoa(added) {
			t.Errorf("%d writes were confirmed, the counter is %s", added, got)
		}
	})
}

// TestTwoControlPlanes_Appends: what one remembers of a log is nothing once another has made it again.
func TestTwoControlPlanes_Appends(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b *world) {
		at := func(n int) string { return fmt.Sprintf("x-ms-blob-condition-appendpos: %d", n) }
		a.want(a.do("PUT", "log", "", "", appendBlob), 201, "")
		a.want(a.do("PUT", "log", "comp=appendblock", "old ", at(0)), 201, "")
		b.want(b.do("DELETE", "log", "", ""), 202, "")
		b.want(b.do("PUT", "log", "", "", appendBlob), 201, "")
		a.want(a.do("PUT", "log", "comp=appendblock", "lost", at(4)), 412, "AppendPositionConditionNotMet")
		b.want(b.do("PUT", "log", "comp=appendblock", "new ", at(0)), 201, "")
		a.want(a.do("PUT", "log", "comp=appendblock", "more", at(4)), 201, "")
		if got := b.do("GET", "log", "", "").body; got != "new more" {
			t.Errorf("the log is %q", got)
		}
	})
}

// TestBlocksOfAReplacedBlob: a list with blocks of what is there is of one blob or of none.
func TestBlocksOfAReplacedBlob(t *testing.T) {
	eachPair(t, func(t *testing.T, a, b *world) {
		stage := func(id, text string) { a.want(a.do("PUT", "x", "comp=block&blockid="+id, text), 201, "") }
		stage("AAAA", "one")
		a.want(a.do("PUT", "x", "comp=blocklist", "<BlockList><Latest>AAAA</Latest></BlockList>"), 201, "")
		n := blobName{acct, "azureml", "x"}
		old, err := a.stat(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		list, readers, over, err := a.resolveBlocks(t.Context(), n, old, []blockRef{{"Committed", []byte{0, 0, 0}}})
		if err != nil || over != old {
			t.Fatal(over, err)
		}
		b.want(b.do("PUT", "x", "", "two", blockBlob), 201, "")
		src := &lazyReader{open: readers}
		r := &request{Request: newRequest(t), name: n}
		opts, err := a.writerOptions(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = a.writeBlock(r, opts, &body{Reader: src}, list, over); err == nil || !strings.Contains(err.Error(), "ServerBusy") {
			t.Errorf("blocks of a blob that is replaced: %v", err)
		}
		if _, err = a.commitBlock(r, opts, over, func() error { t.Error("committed"); return nil }); err == nil {
			t.Error("a blob was replaced that its writer has not seen")
		}
		if got := a.do("GET", "x", "", "").body; got != "two" {
			t.Errorf("it is %q", got)
		}
	})
}

// TestLockUnavailable: nothing is written where others cannot be asked to wait.
func TestLockUnavailable(t *testing.T) {
	w := newWorld(t, memblob.OpenBucket(nil))
	w.cfg.Lock = func(context.Context, string) (func(), error) { return nil, fmt.Errorf("no database") }
	w.want(w.do("PUT", "a", "", "x", blockBlob), 503, "ServerBusy")
	w.cfg.Lock = nil
	w.want(w.do("GET", "a", "", ""), 404, "BlobNotFound")
}

// TestDeleteLeavesNeitherKind: a replacement by the other kind that was cut short leaves both.
func TestDeleteLeavesNeitherKind(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		n := blobName{acct, "azureml", "a"}
		w.want(w.do("PUT", "a", "", "", appendBlob), 201, "")
		w.want(w.do("PUT", "a", "comp=appendblock", "old"), 201, "")
		if err := w.write(t.Context(), n.blockKey(), []byte("new"), &blob.WriterOptions{ContentType: "x/y"}); err != nil {
			t.Fatal(err)
		}
		w.want(w.do("DELETE", "a", "", ""), 202, "")
		w.want(w.do("GET", "a", "", ""), 404, "BlobNotFound")
	})
}
