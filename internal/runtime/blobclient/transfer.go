package blobclient

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// rangeSize is what one request of a large download fetches, blockSize what one of a large upload sends.
	rangeSize = 16 << 20
	blockSize = 8 << 20
	// transferStreams is how many ranges of one blob are fetched at once, and blocks sent; it bounds memory to
	// transferStreams × blockSize for uploads and a few kilobytes for downloads.
	transferStreams = 4
	// fetchRetryFor bounds tries of addresses that are not the control plane's.
	fetchRetryFor = 10 * time.Minute
)

// Download writes a blob to f from its start and checks its MD5 where the store has one. size and sum may come from a listing;
// size < 0 means unknown.
func (c *Client) Download(ctx context.Context, blob string, f *os.File, size int64, sum []byte) error {
	if size < 0 {
		p, err := c.Head(ctx, blob)
		if err != nil {
			return err
		}
		size, sum = p.Size, p.MD5
	}
	if size <= rangeSize {
		return c.downloadWhole(ctx, blob, f, sum)
	}
	etag := ""
	if c.s3(blob) { // a list tells no sum, so all ranges must be of one version
		p, err := c.Head(ctx, blob)
		if err != nil {
			return err
		}
		size, sum, etag = p.Size, p.MD5, p.ETag
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(transferStreams)
	for off := int64(0); off < size; off += rangeSize {
		g.Go(func() error {
			return c.DownloadRange(gctx, blob, etag, io.NewOffsetWriter(f, off), off, min(rangeSize, size-off))
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return checkFile(blob, f, sum)
}

// downloadWhole fetches a blob by one request and hashes what passes.
func (c *Client) downloadWhole(ctx context.Context, blob string, f *os.File, sum []byte) error {
	return c.do(ctx, request{method: http.MethodGet, url: blob, want: http.StatusOK}, func(r *http.Response) error {
		if err := f.Truncate(0); err != nil {
			return err
		}
		h := md5.New()
		n, err := copyTo(io.NewOffsetWriter(f, 0), io.TeeReader(r.Body, h))
		if err != nil {
			return err
		}
		if r.ContentLength >= 0 && n != r.ContentLength {
			return retryable{fmt.Errorf("reading %s: %d of %d bytes came", redact(blob), n, r.ContentLength)}
		}
		want := sum
		if p := c.properties(blob, r); p.MD5 != nil {
			want = p.MD5
		}
		return checkSum(blob, h, want)
	})
}

// DownloadRange writes n bytes of a blob from off on to the start of w. With an etag the blob must still be the one that had it;
// otherwise the error is a *StatusError with Changed.
func (c *Client) DownloadRange(ctx context.Context, blob, etag string, w *io.OffsetWriter, off, n int64) error {
	q := request{method: http.MethodGet, url: blob, want: http.StatusPartialContent,
		header: map[string]string{"x-ms-range": fmt.Sprintf("bytes=%d-%d", off, off+n-1), "Range": fmt.Sprintf("bytes=%d-%d", off, off+n-1)}}
	if etag != "" {
		q.header["If-Match"] = strconv.Quote(etag)
	}
	return c.do(ctx, q, func(r *http.Response) error {
		if _, err := w.Seek(0, io.SeekStart); err != nil { // an earlier try may have come half way
			return err
		}
		got, err := copyTo(w, io.LimitReader(r.Body, n))
		if err == nil && got != n {
			err = retryable{fmt.Errorf("reading %s from %d: %d of %d bytes came", redact(blob), off, got, n)}
		}
		return err
	})
}

// copyTo tells errors of the network, which are worth another try, from errors of the disk, which are not.
func copyTo(w io.Writer, r io.Reader) (int64, error) {
	src := &errReader{r: r}
	n, err := io.Copy(w, src)
	if src.err != nil {
		return n, retryable{fmt.Errorf("reading body: %w", src.err)}
	}
	return n, err
}

type errReader struct {
	r   io.Reader
	err error
}

func (e *errReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		e.err = err
	}
	return n, err
}

func checkFile(blob string, f *os.File, sum []byte) error {
	if sum == nil {
		return nil
	}
	h := md5.New()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if err := checkSum(blob, h, sum); err != nil {
		return unwrapRetryable(err)
	}
	return nil
}

func checkSum(blob string, h hash.Hash, want []byte) error {
	if got := h.Sum(nil); want != nil && !bytes.Equal(got, want) {
		return fmt.Errorf("blob %s is damaged: its MD5 is %x, not %x as stored", redact(blob), got, want)
	}
	return nil
}

// Upload writes a file as a block blob: in one request when small, else in blocks that are committed together at the end.
func (c *Client) Upload(ctx context.Context, blob string, f io.ReaderAt, size int64) error {
	return c.UploadIf(ctx, blob, f, size, func(context.Context) error { return nil })
}

// UploadIf is Upload that asks allowed at the beginning, and again when all blocks are there: what takes long may have become
// unwanted. The blocks are this upload's own, whoever else writes the blob.
func (c *Client) UploadIf(ctx context.Context, blob string, f io.ReaderAt, size int64, allowed func(context.Context) error) error {
	if err := allowed(ctx); err != nil {
		return err
	}
	if size <= blockSize {
		buf := make([]byte, size)
		if n, err := f.ReadAt(buf, 0); int64(n) < size {
			return fmt.Errorf("reading file: %w", err)
		}
		return c.Put(ctx, blob, buf)
	}
	if c.s3(blob) {
		return c.uploadParts(ctx, blob, f, size, allowed)
	}
	pool := sync.Pool{New: func() any { b := make([]byte, blockSize); return &b }}
	var ids []string
	own := rand.Text()[:8]
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(transferStreams)
	for off := int64(0); off < size; off += blockSize {
		id := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s%06d", own, len(ids)))
		ids = append(ids, id)
		g.Go(func() error {
			buf := pool.Get().(*[]byte)
			defer pool.Put(buf)
			return c.putBlock(gctx, blob, id, f, off, (*buf)[:min(blockSize, size-off)])
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := allowed(ctx); err != nil {
		return err
	}
	return c.commit(ctx, blob, ids)
}

func (c *Client) putBlock(ctx context.Context, blob, id string, f io.ReaderAt, off int64, buf []byte) error {
	if n, err := f.ReadAt(buf, off); n < len(buf) {
		return fmt.Errorf("reading file at %d: %w", off, err)
	}
	sum := md5.Sum(buf)
	return c.do(ctx, request{method: http.MethodPut, url: withQuery(withQuery(blob, "comp", "block"), "blockid", id), body: buf,
		want: http.StatusCreated, header: map[string]string{"Content-MD5": base64.StdEncoding.EncodeToString(sum[:])}}, nil)
}

func (c *Client) commit(ctx context.Context, blob string, ids []string) error {
	var b strings.Builder
	b.WriteString(`<?xml version="1.0" encoding="utf-8"?><BlockList>`)
	for _, id := range ids {
		b.WriteString("<Latest>" + id + "</Latest>")
	}
	b.WriteString("</BlockList>")
	return c.do(ctx, request{method: http.MethodPut, url: withQuery(blob, "comp", "blocklist"), body: []byte(b.String()), want: http.StatusCreated}, nil)
}

// Fetch downloads any http or https URL without credentials, following redirects only to http and https.
func (c *Client) Fetch(ctx context.Context, rawURL string, f *os.File) error {
	if !strings.HasPrefix(rawURL, "https://") && !strings.HasPrefix(rawURL, "http://") {
		return fmt.Errorf("URL %s is neither http nor https", redact(rawURL))
	}
	hc := *c.cfg.HTTP
	hc.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) >= 10 {
			return errors.New("more than 10 redirects")
		}
		if r.URL.Scheme != "https" && r.URL.Scheme != via[0].URL.Scheme {
			return fmt.Errorf("redirect to scheme %q refused", r.URL.Scheme)
		}
		return nil
	}
	anon := &Client{cfg: c.cfg}
	anon.cfg.HTTP, anon.cfg.Token, anon.cfg.RetryFor = &hc, nil, min(c.cfg.RetryFor, fetchRetryFor)
	anon.cfg.DeniedFor = 0
	return anon.downloadWhole(ctx, rawURL, f, nil)
}
