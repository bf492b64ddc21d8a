package client

import (
	"context"
	"crypto/md5" //nolint:gosec // the blob protocol's checksum
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"fairlead.dev/fairlead/api/arm"
)

// Download writes a blob to rel below root, which no name can leave. An interrupted download goes on where it stopped as long
// as the blob is the same, and a file that is already there with the right checksum is not fetched again. got is called
// with byte counts; it may be nil.
func (b *Container) Download(ctx context.Context, root *os.Root, blob Blob, rel string, got func(int64)) error {
	if got == nil {
		got = func(int64) {}
	}
	rel = filepath.FromSlash(rel)
	if !filepath.IsLocal(rel) {
		return fmt.Errorf("downloading %q: the name would lie outside the target folder; refused", blob.Name)
	}
	if blob.MD5 != "" && sameFile(root, rel, blob) {
		got(blob.Size)
		return nil
	}
	if dir := filepath.Dir(rel); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making folder for %q: %w", rel, err)
		}
	}
	version := sha256.Sum256(fmt.Appendf(nil, "%s %s %d", blob.Name, blob.ETag, blob.Size))
	part := fmt.Sprintf("%s.%x.part", rel, version[:4])
	if err := b.fetch(ctx, root, blob, part, got); err != nil {
		return err
	}
	if blob.MD5 != "" && !sameFile(root, part, blob) {
		_ = root.Remove(part)
		return fmt.Errorf("downloading %q: the checksum differs from the stored one; run the command again", blob.Name)
	}
	if err := root.Rename(part, rel); err != nil {
		return fmt.Errorf("finishing %q: %w", rel, err)
	}
	return nil
}

// fetch fills part, from where it ends, again when the connection breaks.
func (b *Container) fetch(ctx context.Context, root *os.Root, blob Blob, part string, got func(int64)) error {
	f, err := root.OpenFile(part, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("creating %q: %w", part, err)
	}
	defer f.Close()
	off, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if off > blob.Size {
		off = 0
		if err := f.Truncate(0); err != nil {
			return fmt.Errorf("emptying %q: %w", part, err)
		}
	}
	got(off)
	for attempt := 0; off < blob.Size; attempt++ {
		n, err := b.fetchFrom(ctx, f, blob, off, got)
		off += n
		if err == nil && off < blob.Size {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			break
		}
		if n > 0 {
			attempt = 0
		}
		var refused *arm.Error
		if ctx.Err() != nil || attempt >= 5 || (errors.As(err, &refused) && !retryableStatus(refused.Status, http.MethodGet)) {
			return fmt.Errorf("downloading %q: %w", blob.Name, err)
		}
		if err := b.c.cfg.Sleep(ctx, backoff(attempt)); err != nil {
			return err
		}
	}
	return f.Sync()
}

func (b *Container) fetchFrom(ctx context.Context, f *os.File, blob Blob, off int64, got func(int64)) (int64, error) {
	target, err := b.c.resolve(b.URL(blob.Name), b.sas)
	if err != nil {
		return 0, err
	}
	client := *b.c
	if len(b.sas) > 0 {
		client.cfg.Token = nil
	}
	h := http.Header{"X-Ms-Version": {blobVersion}, "Range": {fmt.Sprintf("bytes=%d-", off)}}
	if blob.ETag != "" {
		h.Set("If-Match", blob.ETag)
	}
	res, err := client.open(ctx, Request{Method: http.MethodGet, Header: h}, target, nil, false)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusPreconditionFailed:
		return 0, &arm.Error{Status: res.StatusCode, Code: "BlobChanged", Message: "the file changed while it was downloaded; run the command again"}
	case res.StatusCode >= 400:
		body, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
		return 0, blobError(ErrorOf(res.StatusCode, body, http.MethodGet, target))
	case res.StatusCode == http.StatusOK && off > 0: // the server ignored Range
		if _, err := io.CopyN(io.Discard, res.Body, off); err != nil {
			return 0, err
		}
	}
	return io.Copy(&countingWriter{w: io.NewOffsetWriter(f, off), got: got}, io.LimitReader(res.Body, blob.Size-off))
}

type countingWriter struct {
	w   io.Writer
	got func(int64)
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.got(int64(n))
	return n, err
}

func sameFile(root *os.Root, rel string, blob Blob) bool {
	st, err := root.Stat(rel)
	if err != nil || st.Size() != blob.Size {
		return false
	}
	f, err := root.Open(rel)
	if err != nil {
		return false
	}
	defer f.Close()
	sum := md5.New() //nolint:gosec // the blob protocol's checksum
	if _, err := io.Copy(sum, f); err != nil {
		return false
	}
	return base64.StdEncoding.EncodeToString(sum.Sum(nil)) == blob.MD5
}

// OpenLog opens a run's file at a byte offset. With follow the answer ends when the run does. A refusal is an *arm.Error
// (404: the file is not there yet). The caller closes the body.
func (c *Client) OpenLog(ctx context.Context, address string, offset int64, follow bool) (io.ReadCloser, error) {
	q := url.Values{"offset": {fmt.Sprint(offset)}}
	if follow {
		q.Set("follow", "true")
	}
	res, err := c.Stream(ctx, address, q)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// Stream opens an address whose answer is read as it comes. A refusal is an *arm.Error. The caller closes the body.
func (c *Client) Stream(ctx context.Context, address string, q url.Values) (*http.Response, error) {
	target, err := c.resolve(address, q)
	if err != nil {
		return nil, err
	}
	for renewed := false; ; renewed = true {
		res, err := c.open(ctx, Request{Method: http.MethodGet}, target, nil, renewed)
		if err != nil {
			return nil, explainNet(c.Endpoint(), err)
		}
		if res.StatusCode == http.StatusOK || res.StatusCode == http.StatusPartialContent {
			return res, nil
		}
		body, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
		res.Body.Close()
		if res.StatusCode == http.StatusNoContent {
			res.Body = http.NoBody
			return res, nil
		}
		if res.StatusCode != http.StatusUnauthorized || renewed {
			return nil, ErrorOf(res.StatusCode, body, http.MethodGet, target)
		}
	}
}
