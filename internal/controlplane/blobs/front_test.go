package blobs

import (
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	blockBlob  = "x-ms-blob-type: BlockBlob"
	appendBlob = "x-ms-blob-type: AppendBlob"
)

func TestBlockBlob(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		a := w.want(w.do("PUT", "dir/a b%25.txt", "", "hello world", blockBlob, "x-ms-meta-upload_status: completed", "x-ms-blob-content-type: text/plain"), 201, "")
		sum := md5.Sum([]byte("hello world"))
		if a.header.Get("Content-MD5") != base64.StdEncoding.EncodeToString(sum[:]) {
			t.Errorf("Content-MD5 %q", a.header.Get("Content-MD5"))
		}
		got := w.want(w.do("GET", "dir/a b%25.txt", "", ""), 200, "")
		if got.body != "hello world" || got.header.Get("Content-Type") != "text/plain" || got.header.Get("x-ms-meta-upload_status") != "completed" {
			t.Errorf("got %+v", got)
		}
		if got.header.Get("ETag") != a.header.Get("ETag") {
			t.Errorf("ETag %s, then %s", a.header.Get("ETag"), got.header.Get("ETag"))
		}
		part := w.want(w.do("GET", "dir/a b%25.txt", "", "", "x-ms-range: bytes=6-", "x-ms-range-get-content-md5: true"), 206, "")
		if part.body != "world" || part.header.Get("Content-Range") != "bytes 6-10/11" || part.header.Get("Content-MD5") == "" {
			t.Errorf("got %+v", part)
		}
		w.want(w.do("GET", "dir/a b%25.txt", "", "", "Range: bytes=11-"), 416, "InvalidRange")
		head := w.want(w.do("HEAD", "dir/a b%25.txt", "", ""), 200, "")
		if head.header.Get("Content-Length") != "11" || head.header.Get("x-ms-blob-type") != "BlockBlob" {
			t.Errorf("got %+v", head)
		}
		w.want(w.do("PUT", "dir/a b%25.txt", "comp=metadata", "", "x-ms-meta-k: v"), 200, "")
		m := w.want(w.do("GET", "dir/a b%25.txt", "comp=metadata", ""), 200, "")
		if m.header.Get("x-ms-meta-k") != "v" || m.header.Get("x-ms-meta-upload_status") != "" {
			t.Errorf("metadata %v", m.header)
		}
		if got := w.do("GET", "dir/a b%25.txt", "", ""); got.body != "hello world" {
			t.Errorf("after metadata: %q", got.body)
		}
		w.want(w.do("DELETE", "dir/a b%25.txt", "", ""), 202, "")
		w.want(w.do("GET", "dir/a b%25.txt", "", ""), 404, "BlobNotFound")
		w.want(w.do("DELETE", "dir/a b%25.txt", "", ""), 404, "BlobNotFound")
		w.want(w.do("HEAD", "dir/", "", ""), 404, "BlobNotFound")
		w.want(w.do("PUT", "dir/", "", ""), 400, "InvalidResourceName")
		w.want(w.do("HEAD", "dir/a b%25.txt", "", ""), 404, "BlobNotFound")
	})
}

func TestConditions(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		a := w.want(w.do("PUT", "claim", "", "1", blockBlob, "If-None-Match: *", "x-ms-meta-who: first"), 201, "")
		w.want(w.do("PUT", "claim", "", "2", blockBlob, "If-None-Match: *", "x-ms-meta-who: second"), 409, "BlobAlreadyExists")
		got := w.do("GET", "claim", "", "")
		if got.body != "1" || got.header.Get("x-ms-meta-who") != "first" {
			t.Errorf("the claim was changed: %+v", got)
		}
		etag := a.header.Get("ETag")
		w.want(w.do("GET", "claim", "", "", "If-None-Match: "+etag), 304, "")
		w.want(w.do("PUT", "claim", "", "22", blockBlob, `If-Match: "0x1"`), 412, "ConditionNotMet")
		w.want(w.do("PUT", "claim", "", "22", blockBlob, "If-Match: "+etag), 201, "")
		w.want(w.do("PUT", "none", "", "22", blockBlob, "If-Match: *"), 412, "ConditionNotMet")
		w.want(w.do("PUT", "claim", "", "22", blockBlob, "Content-MD5: 1B2M2Y8AsgTpgAmY7PhCfg=="), 400, "Md5Mismatch")
		w.want(w.do("PUT", "claim", "", "22", blockBlob, "Content-MD5: x"), 400, "InvalidMd5")
		w.want(w.do("PUT", "claim", "", "22"), 400, "InvalidHeaderValue")
		w.want(w.do("GET", "claim", "comp=tags", ""), 400, "UnsupportedOperation")
	})
}

func TestClaimHasOneWinner(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		var wg sync.WaitGroup
		statuses := make(chan int, 16)
		for i := range 16 {
			wg.Go(func() {
				statuses <- w.do("PUT", "system_logs/claim-0-0", "", fmt.Sprint(i), blockBlob, "If-None-Match: *").status
			})
		}
		wg.Wait()
		close(statuses)
		got := map[int]int{}
		for s := range statuses {
			got[s]++
		}
		if diff := cmp.Diff(map[int]int{201: 1, 409: 15}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestBlockList(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		id := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
		stage := func(s, body string) {
			w.want(w.do("PUT", "big", "comp=block&blockid="+id(s), body), 201, "")
		}
		stage("b1", "one ")
		stage("b2", "two ")
		w.want(w.do("GET", "big", "", ""), 404, "BlobNotFound")
		w.want(w.do("PUT", "big", "comp=blocklist", "<BlockList><Latest>"+id("b9")+"</Latest></BlockList>"), 400, "InvalidBlockList")
		w.want(w.do("PUT", "big", "comp=blocklist", "<BlockList><Late"), 400, "InvalidXmlDocument")
		w.want(w.do("PUT", "big", "comp=block&blockid=!", "x"), 400, "InvalidQueryParameterValue")
		w.want(w.do("PUT", "big", "comp=blocklist", "<?xml version=\"1.0\"?><BlockList><Latest>"+id("b1")+"</Latest><Uncommitted>"+id("b2")+"</Uncommitted></BlockList>"), 201, "")
		if got := w.do("GET", "big", "", "").body; got != "one two " {
			t.Errorf("got %q", got)
		}
		stage("b3", "three")
		all := w.want(w.do("GET", "big", "comp=blocklist&blocklisttype=all", ""), 200, "").body
		if !strings.Contains(all, "<CommittedBlocks><Block><Name>"+id("b1")+"</Name><Size>4</Size>") || !strings.Contains(all, "<UncommittedBlocks><Block><Name>"+id("b3")) {
			t.Errorf("block list %s", all)
		}
		w.want(w.do("PUT", "big", "comp=blocklist", "<BlockList><Committed>"+id("b2")+"</Committed><Latest>"+id("b3")+"</Latest><Latest>"+id("b1")+"</Latest></BlockList>"), 201, "")
		if got := w.do("GET", "big", "", "").body; got != "two threeone " {
			t.Errorf("got %q", got)
		}
		w.want(w.do("PUT", "big", "", "whole", blockBlob), 201, "")
		w.want(w.do("PUT", "big", "comp=blocklist", "<BlockList><Committed>"+id("b2")+"</Committed></BlockList>"), 400, "InvalidBlockList")
	})
}

func TestAppendBlob(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		w.want(w.do("PUT", "log", "comp=appendblock", "x"), 404, "BlobNotFound")
		w.want(w.do("PUT", "log", "", "", appendBlob), 201, "")
		w.want(w.do("PUT", "log", "", "", appendBlob, "If-None-Match: *"), 409, "BlobAlreadyExists")
		want, times, segments := "", 600, "15" // 2 segments of 256, 5 of 16 and 8 of one
		if w.s3 {
			times, segments = 40, "10"
		}
		for i := range times {
			line := fmt.Sprintf("line %d\n", i)
			pos := fmt.Sprintf("x-ms-blob-condition-appendpos: %d", len(want))
			a := w.do("PUT", "log", "comp=appendblock", line, pos)
			if a.status != 201 || a.header.Get("x-ms-blob-append-offset") != fmt.Sprint(len(want)) {
				t.Fatalf("append %d: %+v", i, a)
			}
			want += line
		}
		w.want(w.do("PUT", "log", "comp=appendblock", "again", "x-ms-blob-condition-appendpos: 5"), 412, "AppendPositionConditionNotMet")
		w.want(w.do("PUT", "log", "comp=appendblock", "more", fmt.Sprintf("x-ms-blob-condition-maxsize: %d", len(want)+3)), 412, "MaxBlobSizeConditionNotMet")
		w.want(w.do("PUT", "log", "comp=appendblock", ""), 400, "InvalidHeaderValue")
		w.want(w.do("PUT", "log", "comp=appendblock", strings.Repeat("x", maxAppend+1)), 413, "RequestBodyTooLarge")
		got := w.want(w.do("GET", "log", "", ""), 200, "")
		if got.body != want || got.header.Get("x-ms-blob-type") != "AppendBlob" {
			t.Errorf("%d bytes, want %d", len(got.body), len(want))
		}
		if got := w.do("GET", "log", "", "", "Range: bytes=100-299").body; got != want[100:300] {
			t.Errorf("range differs")
		}
		if n := w.do("HEAD", "log", "", "").header.Get("x-ms-blob-committed-block-count"); n != segments {
			t.Errorf("%s segments, want %s", n, segments)
		}
		w.want(w.do("PUT", "log", "", "now a block blob", blockBlob), 201, "")
		w.want(w.do("PUT", "log", "comp=appendblock", "x"), 409, "InvalidBlobType")
		w.want(w.do("PUT", "log", "", "", appendBlob), 201, "")
		if got := w.do("GET", "log", "", "").body; got != "" {
			t.Errorf("a new append blob holds %q", got)
		}
		w.want(w.do("DELETE", "log", "", ""), 202, "")
		w.want(w.do("GET", "log", "", ""), 404, "BlobNotFound")
	})
}

func TestAppendsAtOnceAllLand(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		w.want(w.do("PUT", "log", "", "", appendBlob), 201, "")
		var wg sync.WaitGroup
		each := 25
		if w.s3 {
			each = 4
		}
		for i := range 8 {
			wg.Go(func() {
				for k := range each {
					if a := w.do("PUT", "log", "comp=appendblock", fmt.Sprintf("%d-%d\n", i, k)); a.status != 201 {
						t.Errorf("append: %+v", a)
					}
				}
			})
		}
		wg.Wait()
		seen := map[string]int{}
		for l := range strings.Lines(w.do("GET", "log", "", "").body) {
			seen[l]++
		}
		if len(seen) != 8*each {
			t.Errorf("%d different lines, want %d", len(seen), 8*each)
		}
	})
}

// TestAppendReaderSurvivesMerges: what a reader has listed may be merged away while it reads.
func TestAppendReaderSurvivesMerges(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		w.want(w.do("PUT", "log", "", "", appendBlob), 201, "")
		add := func(from, to int) (s string) {
			for i := from; i < to; i++ {
				l := fmt.Sprintf("%04d\n", i)
				w.want(w.do("PUT", "log", "comp=appendblock", l), 201, "")
				s += l
			}
			return s
		}
		want := add(0, 31)
		rc, size, err := w.NewReader(t.Context(), acct, "azureml", "log", 5)
		if err != nil || size != int64(len(want)) {
			t.Fatal(size, err)
		}
		defer rc.Close()
		one := make([]byte, 5)
		if _, err := io.ReadFull(rc, one); err != nil {
			t.Fatal(err)
		}
		more := 600
		if w.s3 {
			more = 40
		}
		add(31, 31+more) // merges, and deletes what the reader had listed
		rest, err := io.ReadAll(rc)
		if err != nil || string(one)+string(rest) != want[5:] {
			t.Errorf("read %q, %v", string(one)+string(rest), err)
		}
	})
}

func TestList(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		names := []string{"a", "a/b", "a/c/d", "a-b", "a.b", "b__0x2f__", "z !+%"}
		for _, n := range names {
			w.want(w.do("PUT", strings.ReplaceAll(strings.ReplaceAll(n, "%", "%25"), " ", "%20"), "", "12345", blockBlob, "x-ms-meta-k: "+"v"), 201, "")
		}
		w.want(w.do("PUT", "a/log", "", "", appendBlob), 201, "")
		for range 40 {
			w.want(w.do("PUT", "a/log", "comp=appendblock", "xx"), 201, "")
		}
		got := map[string]int64{}
		for marker, pages := "", 0; ; pages++ {
			entries, next, err := w.page(t.Context(), blobName{acct, "azureml", ""}, "", "", marker, 2, false)
			if err != nil || pages > 50 {
				t.Fatal(pages, err)
			}
			for _, e := range entries {
				if _, twice := got[e.name]; twice {
					t.Errorf("%q listed twice", e.name)
				}
				got[e.name] = e.size
			}
			if marker = next; next == "" {
				break
			}
		}
		want := map[string]int64{"a/log": 80}
		for _, n := range names {
			want[n] = 5
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		x := w.want(w.do("GET", "", "restype=container&comp=list&delimiter=/&prefix=a/&include=metadata", ""), 200, "").body
		for _, s := range []string{"<BlobPrefix><Name>a/c/</Name></BlobPrefix>", "<Name>a/b</Name>", "<Name>a/log</Name>", "<Content-Length>80</Content-Length>", "<Metadata><k>v</k></Metadata>"} {
			if !strings.Contains(x, s) {
				t.Errorf("list without %s: %s", s, x)
			}
		}
		if strings.Contains(x, "a-b") {
			t.Errorf("list with a-b: %s", x)
		}
		items, err := w.List(t.Context(), acct, "azureml", "a/")
		if err != nil || len(items) != 3 {
			t.Errorf("items %v, %v", items, err)
		}
		w.want(w.do("GET", "", "restype=container&comp=list&prefix=../x", ""), 400, "InvalidResourceName")
		w.want(w.do("GET", "", "restype=container&comp=list&marker=***", ""), 400, "OutOfRangeInput")
		w.want(w.do("PUT", "", "restype=container", ""), 201, "")
		w.want(w.do("PUT", "", "restype=container", ""), 201, "")
		w.want(w.do("HEAD", "", "restype=container", ""), 200, "")
	})
}

func TestNamesRefused(t *testing.T) {
	for name, path := range map[string]string{
		"parent":         "/azureml/../../etc/passwd",
		"encoded parent": "/azureml/%2e%2e%2fx",
		"inner parent":   "/azureml/a/../b",
		"dot":            "/azureml/a/./b",
		"empty segment":  "/azureml/a//b",
		"NUL":            "/azureml/a%00b",
		"newline":        "/azureml/a%0ab",
		"backslash":      "/azureml/a%5cb",
		"twice encoded":  "/azureml/a%252fb",
		"not utf-8":      "/azureml/%ff",
		"long":           "/azureml/" + strings.Repeat("a/", 600) + "a",
		"long segment":   "/azureml/" + strings.Repeat("a", 201),
		"container":      "/Azure_ML/a",
		"no container":   "/",
	} {
		t.Run(name, func(t *testing.T) {
			n, err := parsePath("/blob/" + acct + path)
			var e *Error
			if !errors.As(err, &e) || e.Status != 400 {
				t.Errorf("%q is %v, err %v", path, n, err)
			}
		})
	}
}

func TestAuthentication(t *testing.T) {
	b, err := Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, b)
	w.want(w.do("PUT", "runs/one/log", "", "text", blockBlob), 201, "")
	base := w.srv.URL + "/blob/" + acct + "/azureml/"
	query := func(u string) string { _, q, _ := strings.Cut(u, "?"); return "?" + q }
	get := func(name, q string) answer { return w.raw("GET", base+name+q, "") }

	one := query(w.BlobSAS(acct, "azureml", "runs/one/log", "r", time.Hour))
	w.want(get("runs/one/log", one), 200, "")
	w.want(get("runs/one/other", one), 403, "AuthenticationFailed")
	w.want(w.raw("PUT", base+"runs/one/log"+one, "x", blockBlob), 403, "AuthorizationPermissionMismatch")
	w.want(get("runs/one/log", strings.Replace(one, "sp=r", "sp=rw", 1)), 403, "AuthenticationFailed")
	w.want(get("runs/one/log", one+"&sp=w"), 403, "AuthenticationFailed")

	folder := query(w.SAS(acct, "azureml", "runs/one", "rlc", time.Hour))
	w.want(w.do("PUT", "runs/onetwo/log", "", "text", blockBlob), 201, "")
	w.want(get("runs/one/log", folder), 200, "")
	w.want(get("runs/one", folder), 404, "BlobNotFound")
	w.want(get("runs/onetwo/log", folder), 403, "AuthenticationFailed")
	w.want(get("runs", folder), 403, "AuthenticationFailed")
	list := func(prefix, q string) answer {
		return w.raw("GET", strings.TrimSuffix(base, "/")+q+"&restype=container&comp=list&prefix="+prefix, "")
	}
	w.want(list("runs/one/", folder), 200, "")
	w.want(list("runs/one/lo", folder), 200, "")
	w.want(list("runs/one", folder), 403, "AuthenticationFailed") // has runs/onetwo, too
	w.want(list("runs/one/log/", query(w.BlobSAS(acct, "azureml", "runs/one/log", "rl", time.Hour))), 403, "AuthenticationFailed")
	w.want(list("runs/", folder), 403, "AuthenticationFailed")
	w.want(list("", folder), 403, "AuthenticationFailed")
	w.want(w.raw("PUT", base+"runs/one/new"+folder, "x", blockBlob), 201, "")
	w.want(w.raw("PUT", base+"runs/one/new"+folder, "x", blockBlob), 403, "AuthorizationPermissionMismatch")

	container := query(w.SAS(acct, "azureml", "", "r", time.Hour))
	w.want(w.raw("GET", w.srv.URL+"/blob/"+acct+"/other/x"+container, ""), 403, "AuthenticationFailed")
	w.now = w.now.Add(2 * time.Hour)
	if a := w.want(get("runs/one/log", one), 403, "AuthenticationFailed"); !strings.Contains(a.body, "expired") {
		t.Errorf("no reason in %s", a.body)
	}
	w.now = w.now.Add(-4 * time.Hour)
	if a := w.want(get("runs/one/log", one), 403, "AuthenticationFailed"); !strings.Contains(a.body, "starts at") {
		t.Errorf("no reason in %s", a.body)
	}

	w.want(get("runs/one/log", ""), 401, "NoAuthenticationInformation")
	bearer := func(method, name, token string) answer {
		return w.raw(method, base+name, "", "Authorization: Bearer "+token, blockBlob)
	}
	w.want(bearer("GET", "runs/one/log", "bad"), 401, "InvalidAuthenticationInfo")
	w.want(bearer("GET", "runs/one/log", "good"), 200, "")
	w.want(bearer("PUT", "runs/one/log", "good"), 403, "AuthorizationPermissionMismatch")
	w.want(bearer("PUT", "mine/log", "good"), 201, "")
}

func TestSweep(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		w.want(w.do("PUT", "big", "comp=block&blockid=AAAA", "x"), 201, "")
		w.want(w.do("PUT", "kept", "", "x", blockBlob), 201, "")
		staged := func() int {
			bs, err := w.stagedBlocks(t.Context(), blobName{acct, "azureml", "big"})
			if err != nil {
				t.Fatal(err)
			}
			return len(bs)
		}
		if err := w.Sweep(t.Context()); err != nil || staged() != 1 {
			t.Errorf("swept too early: %v", err)
		}
		w.now = w.now.Add(8 * 24 * time.Hour)
		if err := w.Sweep(t.Context()); err != nil || staged() != 0 {
			t.Errorf("not swept: %v", err)
		}
		if ok, _ := w.Exists(t.Context(), acct, "azureml", "kept"); !ok {
			t.Error("a blob was swept")
		}
	})
}
