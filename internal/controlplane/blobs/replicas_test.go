package blobs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/postgres"
	"fairlead.dev/fairlead/internal/testing/pgtest"
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
	w.cfg.Lock = func(context.Context, string) (func() error, func(), error) {
		return nil, nil, fmt.Errorf("no database")
	}
	w.want(w.do("PUT", "a", "", "x", blockBlob), 503, "ServerBusy")
	w.cfg.Lock = nil
	w.want(w.do("GET", "a", "", ""), 404, "BlobNotFound")
}

// TestLockLost: who has lost its lock writes nothing more, for another may have it.
func TestLockLost(t *testing.T) {
	dsn := pgtest.Start(t, "fsync=off").NewDatabase(t)
	db, err := postgres.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	admin, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.WithoutCancel(t.Context()))
	eachBucket(t, func(t *testing.T, w *world) {
		w.want(w.do("PUT", "a", "", "old", blockBlob), 201, "")
		w.want(w.do("PUT", "log", "", "", appendBlob), 201, "")
		w.want(w.do("PUT", "log", "comp=appendblock", "old"), 201, "")
		w.cfg.Lock = func(ctx context.Context, name string) (func() error, func(), error) {
			held, unlock, err := db.(store.Locker).Lock(ctx, name)
			if err == nil {
				_, err = admin.Exec(ctx, "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory'")
			}
			return held, unlock, err
		}
		busy := func(a answer) { t.Helper(); w.want(a, 503, "ServerBusy") }
		busy(w.do("PUT", "a", "", "new", blockBlob))
		busy(w.do("PUT", "a", "comp=metadata", "", "x-ms-meta-k: v"))
		busy(w.do("DELETE", "a", "", ""))
		busy(w.do("PUT", "log", "comp=metadata", "", "x-ms-meta-k: v"))
		busy(w.do("PUT", "log", "comp=appendblock", "new"))
		busy(w.do("PUT", "log", "", "", appendBlob))
		for _, name := range []string{"a", "log"} {
			if got := w.want(w.do("GET", name, "", ""), 200, ""); got.body != "old" || got.header.Get("x-ms-meta-k") != "" {
				t.Errorf("%s is %q with %v", name, got.body, got.header)
			}
		}
	})
}

// TestWaitingEnds: who waits for a blob's lock stops when its request does.
func TestWaitingEnds(t *testing.T) {
	var l keyLocks
	unlock, err := l.lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.lock(gone, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("one that gave up: %v", err)
	}
	unlock()
	if len(l.m) > 0 {
		t.Errorf("%d locks are left", len(l.m))
	}
}

// TestRewriteOfAReplacedBlob: properties are not put on another content than they were asked for, lock or none.
func TestRewriteOfAReplacedBlob(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		w.want(w.do("PUT", "a", "", "old", blockBlob), 201, "")
		other := New(w.cfg)
		err := w.rewrite(&request{Request: newRequest(t), w: discardAnswer{}, name: blobName{acct, "azureml", "a"}}, func(*blob.WriterOptions, *blob.WriterOptions) {
			if err := other.Put(t.Context(), acct, "azureml", "a", "x/y", strings.NewReader("new")); err != nil {
				t.Error(err)
			}
		})
		if err == nil || !strings.Contains(err.Error(), "ServerBusy") {
			t.Errorf("%v", err)
		}
		if got := w.do("GET", "a", "", "").body; got != "new" {
			t.Errorf("it is %q", got)
		}
	})
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
