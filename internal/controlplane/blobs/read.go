package blobs

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
)

// span is a byte range [start, end) of a blob.
type span struct{ start, end int64 }

// parseRange reads "bytes=a-b" or "bytes=a-" (also "bytes=-n") for a blob of size bytes. partial is false for no or another unit.
func parseRange(value string, size int64) (s span, partial bool, err error) {
	whole := span{0, size}
	v, ok := strings.CutPrefix(value, "bytes=")
	if !ok || strings.Contains(v, ",") {
		return whole, false, nil
	}
	from, to, ok := strings.Cut(strings.TrimSpace(v), "-")
	outside := errorf(http.StatusRequestedRangeNotSatisfiable, "InvalidRange",
		"The range specified is invalid for the current size of the resource: %.60q of %d bytes.", value, size)
	malformed := errorf(http.StatusBadRequest, "InvalidHeaderValue", "The range %.60q is not bytes=<first>-[<last>].", value)
	if !ok {
		return whole, false, malformed
	}
	if from == "" {
		n, err := strconv.ParseInt(to, 10, 64)
		if err != nil || n < 0 {
			return whole, false, malformed
		}
		if n == 0 || size == 0 {
			return whole, false, outside
		}
		return span{max(0, size-n), size}, true, nil
	}
	start, err := strconv.ParseInt(from, 10, 64)
	if err != nil || start < 0 {
		return whole, false, malformed
	}
	end := size
	if to != "" {
		last, err := strconv.ParseInt(to, 10, 64)
		if err != nil || last < start {
			return whole, false, malformed
		}
		if last < size { // also keeps last+1 from overflowing
			end = last + 1
		}
	}
	if start >= size {
		return whole, false, outside
	}
	return span{start, end}, true, nil
}

// open reads a range of a blob as it is now.
func (f *Front) open(ctx context.Context, i *info, s span) (io.ReadCloser, error) {
	if s.end <= s.start {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	if i.isAppend {
		return &appendReader{ctx: ctx, f: f, i: i, pos: s.start, end: s.end}, nil
	}
	r, err := f.cfg.Bucket.NewRangeReader(ctx, i.name.blockKey(), s.start, s.end-s.start, nil)
	if isNotFound(err) {
		return nil, errBlobNotFound(i.name)
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", i.name, err)
	}
	if r.Size() != i.size || !r.ModTime().Equal(i.modTime) || f.nameOfRead(r) != f.nameOf(i.attrs) {
		r.Close()
		return nil, errReplaced
	}
	if f.folder { // the driver looked at the name before it opened what had it then
		now, err := f.cfg.Bucket.Attributes(ctx, i.name.blockKey())
		if err != nil || !now.ModTime.Equal(i.modTime) {
			r.Close()
			return nil, errReplaced
		}
	}
	return r, nil
}

// nameOfRead is nameOf of what is being read.
func (f *Front) nameOfRead(r *blob.Reader) string {
	var out s3.GetObjectOutput
	if f.s3 && r.As(&out) && out.ETag != nil {
		return *out.ETag
	}
	return ""
}

var errReplaced = errorf(http.StatusServiceUnavailable, "ServerBusy", "The blob was replaced again and again while it was being read; retry.")

// statOpen finds a blob and opens it, again when it was replaced in between. pick chooses the range.
func (f *Front) statOpen(ctx context.Context, n blobName, pick func(*info) (span, error)) (*info, span, io.ReadCloser, error) {
	for try := 0; ; try++ {
		i, err := f.stat(ctx, n)
		if err != nil {
			return nil, span{}, nil, err
		}
		s, err := pick(i)
		if err != nil {
			return i, s, nil, err
		}
		rc, err := f.open(ctx, i, s)
		if err == nil || try == 3 || !errors.Is(err, errReplaced) {
			return i, s, rc, err
		}
	}
}

func (f *Front) getBlob(r *request) error {
	if r.Method == http.MethodHead {
		return f.headBlob(r)
	}
	rangeHeader := r.Header.Get("x-ms-range")
	if rangeHeader == "" {
		rangeHeader = r.Header.Get("Range")
	}
	partial := false
	i, s, rc, err := f.statOpen(r.Context(), r.name, func(i *info) (s span, err error) {
		if err := checkRead(r.Header, i); err != nil {
			r.w.Header().Set("ETag", i.etag)
			return s, err
		}
		s, partial, err = parseRange(rangeHeader, i.size)
		if err != nil {
			r.w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", i.size))
		}
		return s, err
	})
	if err != nil {
		return err
	}
	defer rc.Close()
	h := r.w.Header()
	i.headers(h)
	r.override(h)
	h.Set("Content-Length", strconv.FormatInt(s.end-s.start, 10))
	if !partial {
		if i.md5 != "" {
			h.Set("Content-MD5", i.md5)
		}
		return f.ended(r, f.sendWhole(r.w, rc, i))
	}
	h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", s.start, s.end-1, i.size))
	if i.md5 != "" {
		h.Set("x-ms-blob-content-md5", i.md5)
	}
	var body io.Reader = rc
	if strings.EqualFold(r.Header.Get("x-ms-range-get-content-md5"), "true") {
		if body, err = rangeMD5(h, rc, s); err != nil {
			return err
		}
	}
	r.w.WriteHeader(http.StatusPartialContent)
	_, err = io.Copy(r.w, body)
	return f.ended(r, err)
}

// sendWhole sends a blob and holds its end back until the content is what its MD5 says, where that is known.
func (f *Front) sendWhole(w io.Writer, content io.Reader, i *info) error {
	if i.md5 == "" || i.size == 0 {
		_, err := io.Copy(w, content)
		return err
	}
	sum := md5.New()
	content = io.TeeReader(content, sum)
	if _, err := io.CopyN(w, content, i.size-1); err != nil {
		return err
	}
	end, err := io.ReadAll(content)
	if err != nil {
		return err
	}
	err = sameMD5(i.md5, sum.Sum(nil))
	if err != nil && i.claimed {
		f.cfg.Log.Warn("content differs from the MD5 that its writer told an earlier release", "blob", i.name.String(), "err", err)
	} else if err != nil {
		return fmt.Errorf("what is stored of %s is damaged: %w", i.name, err)
	}
	_, err = w.Write(end)
	return err
}

// ended handles an error after the header was sent: the connection must break, so that no client takes the part for the whole.
func (f *Front) ended(r *request, err error) error {
	if err == nil {
		return nil
	}
	if r.Context().Err() == nil {
		f.cfg.Log.Error("sending blob", "blob", r.name.String(), "err", err)
	}
	panic(http.ErrAbortHandler)
}

// rangeMD5 reads a range of at most 4 MiB to tell its MD5 before it is sent.
func rangeMD5(h http.Header, rc io.Reader, s span) (io.Reader, error) {
	if s.end-s.start > maxAppend {
		return nil, errorf(http.StatusBadRequest, "OutOfRangeInput", "x-ms-range-get-content-md5 is given for ranges of at most %d bytes.", maxAppend)
	}
	data, err := io.ReadAll(rc)
	if err != nil {
		return nil, err
	}
	sum := md5.Sum(data)
	h.Set("Content-MD5", base64.StdEncoding.EncodeToString(sum[:]))
	return bytes.NewReader(data), nil
}

func (f *Front) headBlob(r *request) error {
	i, err := f.stat(r.Context(), r.name)
	if err != nil {
		return err
	}
	if err := checkRead(r.Header, i); err != nil {
		r.w.Header().Set("ETag", i.etag)
		return err
	}
	h := r.w.Header()
	i.headers(h)
	r.override(h)
	h.Set("Content-Length", strconv.FormatInt(i.size, 10))
	if i.md5 != "" {
		h.Set("Content-MD5", i.md5)
	}
	r.w.WriteHeader(http.StatusOK)
	return nil
}

func (f *Front) getMetadata(r *request) error {
	i, err := f.stat(r.Context(), r.name)
	if err != nil {
		return err
	}
	if err := checkRead(r.Header, i); err != nil {
		return err
	}
	r.w.Header().Set("ETag", i.etag)
	r.w.Header().Set("Last-Modified", httpTime(i.modTime))
	i.metaHeaders(r.w.Header())
	r.w.WriteHeader(http.StatusOK)
	return nil
}
