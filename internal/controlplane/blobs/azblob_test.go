package blobs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/appendblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

func (w *world) azContainer() *container.Client {
	w.t.Helper()
	c, err := container.NewClientWithNoCredential(w.SAS(acct, "azureml", "", "racwdl", time.Hour), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func TestAzureClientBlockBlobs(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		ctx, c := t.Context(), w.azContainer()
		if _, err := c.Create(ctx, nil); err != nil {
			t.Fatal(err)
		}
		data := make([]byte, 5<<20+123)
		for i := range data {
			data[i] = byte(i * 7 >> 3)
		}
		b := c.NewBlockBlobClient("code/deep/a b+c%ü.bin")
		_, err := b.UploadBuffer(ctx, data, &blockblob.UploadBufferOptions{BlockSize: 1 << 20, Concurrency: 4, Metadata: map[string]*string{"upload_status": to.Ptr("completed")}})
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(data))
		if n, err := b.DownloadBuffer(ctx, got, &blob.DownloadBufferOptions{BlockSize: 512 << 10}); err != nil || int(n) != len(data) {
			t.Fatal(n, err)
		}
		if sha256.Sum256(got) != sha256.Sum256(data) {
			t.Error("other bytes came back")
		}
		p, err := b.GetProperties(ctx, nil)
		if err != nil || *p.ContentLength != int64(len(data)) || *p.BlobType != blob.BlobTypeBlockBlob {
			t.Errorf("properties %+v, %v", p, err)
		}
		found := false
		for k, v := range p.Metadata {
			found = found || (strings.EqualFold(k, "upload_status") && *v == "completed")
		}
		if !found {
			t.Errorf("metadata %v", p.Metadata)
		}
		_, err = b.Upload(ctx, streaming.NopCloser(bytes.NewReader(data[:10])), &blockblob.UploadOptions{
			AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)}}})
		if !bloberror.HasCode(err, bloberror.BlobAlreadyExists) {
			t.Errorf("err %v", err)
		}
		if _, err := c.NewBlobClient("none").GetProperties(ctx, nil); !bloberror.HasCode(err, bloberror.BlobNotFound) {
			t.Errorf("err %v", err)
		}
		if _, err := c.NewBlobClient("../x").GetProperties(ctx, nil); !bloberror.HasCode(err, "InvalidResourceName") {
			t.Errorf("err %v", err)
		}
		if _, err := b.SetMetadata(ctx, map[string]*string{"k": to.Ptr("v")}, nil); err != nil {
			t.Error(err)
		}
		if _, err := b.Delete(ctx, nil); err != nil {
			t.Error(err)
		}
		if _, err := b.UploadStream(ctx, bytes.NewReader(data), &azblob.UploadStreamOptions{BlockSize: 1 << 20, Concurrency: 3}); err != nil {
			t.Error(err)
		}
		clear(got)
		if _, err := b.DownloadBuffer(ctx, got, nil); err != nil || sha256.Sum256(got) != sha256.Sum256(data) {
			t.Errorf("other bytes came back from blocks: %v", err)
		}
		list, err := b.GetBlockList(ctx, blockblob.BlockListTypeAll, nil)
		if err != nil || len(list.CommittedBlocks) != 6 || len(list.UncommittedBlocks) != 0 {
			t.Errorf("block list %v, %v", list, err)
		}
	})
}

func TestAzureClientAppendAndList(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		ctx, c := t.Context(), w.azContainer()
		a := c.NewAppendBlobClient("runs/one/std_log.txt")
		if _, err := a.Create(ctx, nil); err != nil {
			t.Fatal(err)
		}
		at := func(pos int64) *appendblob.AppendBlockOptions {
			return &appendblob.AppendBlockOptions{AppendPositionAccessConditions: &appendblob.AppendPositionAccessConditions{AppendPosition: &pos}}
		}
		if _, err := a.AppendBlock(ctx, streaming.NopCloser(strings.NewReader("one ")), at(0)); err != nil {
			t.Fatal(err)
		}
		if _, err := a.AppendBlock(ctx, streaming.NopCloser(strings.NewReader("one ")), at(0)); !bloberror.HasCode(err, bloberror.AppendPositionConditionNotMet) {
			t.Errorf("err %v", err)
		}
		if _, err := a.AppendBlock(ctx, streaming.NopCloser(strings.NewReader("two")), at(4)); err != nil {
			t.Fatal(err)
		}
		res, err := a.DownloadStream(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(res.Body); string(b) != "one two" {
			t.Errorf("read %q", b)
		}
		for _, n := range []string{"runs/one/x", "runs/two", "runs.txt"} {
			if _, err := c.NewBlockBlobClient(n).UploadBuffer(ctx, []byte("12345"), nil); err != nil {
				t.Fatal(err)
			}
		}
		names := map[string]int64{}
		for p := c.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: to.Ptr("runs/"), MaxResults: to.Ptr(int32(2))}); p.More(); {
			page, err := p.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range page.Segment.BlobItems {
				names[*b.Name] = *b.Properties.ContentLength
			}
		}
		if len(names) != 3 || names["runs/one/std_log.txt"] != 7 || names["runs/two"] != 5 {
			t.Errorf("list %v", names)
		}
		var prefixes, blobs int
		for p := c.NewListBlobsHierarchyPager("/", nil); p.More(); {
			page, err := p.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			prefixes, blobs = prefixes+len(page.Segment.BlobPrefixes), blobs+len(page.Segment.BlobItems)
		}
		if prefixes != 1 || blobs != 1 {
			t.Errorf("%d prefixes and %d blobs", prefixes, blobs)
		}
	})
}

func TestAzureClientErrors(t *testing.T) {
	eachBucket(t, func(t *testing.T, w *world) {
		c, err := container.NewClientWithNoCredential(w.SAS(acct, "azureml", "", "r", time.Hour), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.NewBlockBlobClient("x").UploadBuffer(t.Context(), []byte("1"), nil)
		var re *azcore.ResponseError
		if !errors.As(err, &re) || re.StatusCode != 403 || re.ErrorCode != "AuthorizationPermissionMismatch" {
			t.Errorf("err %v", err)
		}
	})
}
