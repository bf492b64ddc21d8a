package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/uuid"
	"gocloud.dev/blob"
)

// Limits of append blobs.
const (
	maxAppend      = 4 << 20  // bytes of one append
	mergeCount     = 16       // segments of one level that become one of the next
	maxMergedBytes = 64 << 20 // a merge never makes a larger segment
)

// segment is one object of an append blob.
type segment struct {
	offset, size int64
	level        int
}

func (s segment) end() int64 { return s.offset + s.size }
func (s segment) key(n blobName) string {
	return fmt.Sprintf("%s%016x-%d", n.appendRoot(), s.offset, s.level)
}

func parseSegment(base string) (s segment, ok bool) {
	off, level, ok := strings.Cut(base, "-")
	if !ok || len(off) != 16 {
		return s, false
	}
	o, err1 := strconv.ParseInt(off, 16, 64)
	l, err2 := strconv.Atoi(level)
	return segment{offset: o, level: l}, err1 == nil && err2 == nil && l >= 0 && l < 64
}

// cover picks the segments that make up the blob: from 0 on, always the highest level; the rest was merged away.
func cover(all []segment) (segs, extra []segment, size int64) {
	slices.SortFunc(all, func(a, b segment) int {
		if a.offset != b.offset {
			return int(min(max(a.offset-b.offset, -1), 1))
		}
		return b.level - a.level
	})
	for _, s := range all {
		if s.offset == size && s.size > 0 {
			segs, size = append(segs, s), s.end()
		} else {
			extra = append(extra, s)
		}
	}
	return segs, extra, size
}

func (f *Front) statAppend(ctx context.Context, n blobName) (*info, error) {
	a, err := f.cfg.Bucket.Attributes(ctx, n.headKey())
	if isNotFound(err) {
		return nil, errBlobNotFound(n)
	}
	if err != nil {
		return nil, fmt.Errorf("reading attributes of %s: %w", n, err)
	}
	i := &info{name: n, isAppend: true, modTime: a.ModTime, attrs: a} // its MD5 would be another after every append
	all, err := f.segments(ctx, i)
	if err != nil {
		return nil, err
	}
	i.segs, i.extra, i.size = cover(all)
	i.etag = makeETag(a.ModTime, i.size, a.Metadata[metaWrite])
	return i, nil
}

// segments lists every segment object and moves i.modTime forward to the newest.
func (f *Front) segments(ctx context.Context, i *info) ([]segment, error) {
	var all []segment
	it := f.cfg.Bucket.List(&blob.ListOptions{Prefix: i.name.appendRoot()})
	for {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("listing segments of %s: %w", i.name, err)
		}
		if s, ok := parseSegment(o.Key[len(i.name.appendRoot()):]); ok {
			s.size = o.Size
			all = append(all, s)
			if o.ModTime.After(i.modTime) {
				i.modTime = o.ModTime
			}
		}
	}
}

func (f *Front) createAppend(r *request, opts *blob.WriterOptions) error {
	if r.ContentLength > 0 {
		return errorf(http.StatusBadRequest, "InvalidHeaderValue", "Content-Length %d: an append blob is created empty; append afterwards.", r.ContentLength)
	}
	ctx := r.Context()
	held, unlock, err := f.lock(ctx, r.name)
	if err != nil {
		return err
	}
	defer unlock()
	old, err := f.mayReplace(r)
	if err != nil {
		return err
	}
	if err := held(); err != nil {
		return err
	}
	if err := f.removeAppend(ctx, r.name); err != nil {
		return err
	}
	opts.IfNotExist = strings.TrimSpace(r.Header.Get("If-None-Match")) == "*"
	opts.Metadata[metaWrite] = uuid.NewString()
	err = f.write(ctx, r.name.headKey(), nil, opts)
	if opts.IfNotExist && taken(err) {
		return errorf(http.StatusConflict, "BlobAlreadyExists", "The specified blob already exists: %s.", r.name)
	}
	if err != nil {
		return fmt.Errorf("creating %s: %w", r.name, err)
	}
	if old != nil && !old.isAppend {
		if err := f.removeBlock(ctx, r.name); err != nil {
			return err
		}
	}
	i, err := f.statAppend(ctx, r.name)
	if err != nil {
		return err
	}
	r.created(i, "")
	return nil
}

// removeAppend deletes the head first, so that a removal cut short leaves no blob; creating it again clears the rest.
func (f *Front) removeAppend(ctx context.Context, n blobName) error {
	f.tails.drop(n)
	if err := f.cfg.Bucket.Delete(ctx, n.headKey()); err != nil && !isNotFound(err) {
		return fmt.Errorf("deleting %s: %w", n, err)
	}
	all, err := f.segments(ctx, &info{name: n})
	if err != nil {
		return err
	}
	return f.deleteSegments(ctx, n, all)
}

func (f *Front) deleteSegments(ctx context.Context, n blobName, segs []segment) error {
	for _, s := range segs {
		if err := f.cfg.Bucket.Delete(ctx, s.key(n)); err != nil && !isNotFound(err) {
			return fmt.Errorf("deleting segment of %s: %w", n, err)
		}
	}
	return nil
}

func (f *Front) appendBlock(r *request) error {
	b, err := requestBody(r, maxAppend)
	if err != nil {
		return err
	}
	if r.ContentLength == 0 {
		return errorf(http.StatusBadRequest, "InvalidHeaderValue", "Content-Length 0: an append has at least one byte.")
	}
	data := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(b, data); err != nil {
		return errorf(http.StatusBadRequest, "IncompleteBody", "The request body ended before its Content-Length of %d bytes.", r.ContentLength)
	}
	if err := b.check(); err != nil {
		return err
	}
	pos, maxSize, err := appendConditions(r.Header)
	if err != nil {
		return err
	}
	held, unlock, err := f.lock(r.Context(), r.name)
	if err != nil {
		return err
	}
	defer unlock()
	i, at, err := f.appendAt(r, held, data, pos, maxSize)
	if err != nil {
		return err
	}
	h := r.w.Header()
	h.Set("x-ms-blob-append-offset", strconv.FormatInt(at, 10))
	h.Set("x-ms-blob-committed-block-count", strconv.Itoa(len(i.segs)))
	b.confirm(h)
	r.created(i, "")
	return nil
}

func appendConditions(h http.Header) (pos, maxSize int64, err error) {
	get := func(key string) int64 {
		v := h.Get(key)
		if v == "" || err != nil {
			return -1
		}
		n, perr := strconv.ParseInt(v, 10, 64)
		if perr != nil || n < 0 {
			err = errorf(http.StatusBadRequest, "InvalidHeaderValue", "%s %.40q is not a number of bytes.", key, v)
		}
		return n
	}
	pos, maxSize = get("x-ms-blob-condition-appendpos"), get("x-ms-blob-condition-maxsize")
	return pos, maxSize, err
}

// appendAt writes data as a new segment at the blob's end; the blob's lock must be held. What it remembers of the blob, where this
// process is the only one that writes, is trusted only when the caller names the same position.
func (f *Front) appendAt(r *request, held func() error, data []byte, pos, maxSize int64) (*info, int64, error) {
	ctx, n := r.Context(), r.name
	i := f.tails.get(n)
	fresh := false
	for range 8 {
		if i == nil || pos < 0 || (!fresh && pos != i.size) {
			var err error
			if i, err = f.stat(ctx, n); err != nil {
				return nil, 0, err
			}
			fresh = true
		}
		if err := checkAppend(r, i, pos, maxSize, int64(len(data))); err != nil {
			return nil, 0, err
		}
		if err := held(); err != nil {
			return nil, 0, err
		}
		s := segment{offset: i.size, size: int64(len(data))}
		err := f.write(ctx, s.key(n), data, &blob.WriterOptions{ContentType: "application/octet-stream", IfNotExist: true})
		if taken(err) {
			i = nil
			continue
		}
		if err != nil {
			f.tails.drop(n)
			return nil, 0, fmt.Errorf("appending to %s: %w", n, err)
		}
		return f.appended(ctx, held, i, s), s.offset, nil
	}
	return nil, 0, errorf(http.StatusServiceUnavailable, "ServerBusy", "Too many appends to %s at once; retry.", n)
}

func checkAppend(r *request, i *info, pos, maxSize, add int64) error {
	if !i.isAppend {
		return errorf(http.StatusConflict, "InvalidBlobType", "The blob type is invalid for this operation: %s is a %s.", i.name, i.kind())
	}
	if err := checkWrite(r.Header, i); err != nil {
		return err
	}
	if pos >= 0 && pos != i.size {
		return errorf(http.StatusPreconditionFailed, "AppendPositionConditionNotMet",
			"The append position condition specified was not met: the blob has %d bytes, the condition says %d.", i.size, pos)
	}
	if maxSize >= 0 && i.size+add > maxSize {
		return errorf(http.StatusPreconditionFailed, "MaxBlobSizeConditionNotMet",
			"The max blob size condition specified was not met: %d bytes and %d more exceed %d.", i.size, add, maxSize)
	}
	return nil
}

// appended is the blob after a segment was added, merged where due, and remembered.
func (f *Front) appended(ctx context.Context, held func() error, i *info, s segment) *info {
	n := *i
	n.segs = append(slices.Clone(i.segs), s)
	n.size = s.end()
	n.modTime = f.cfg.Clock()
	n.etag = makeETag(i.attrs.ModTime, n.size, i.attrs.Metadata[metaWrite])
	for f.merge(context.WithoutCancel(ctx), held, &n) {
	}
	if f.cfg.Lock == nil { // others may write to the blob, or make it again
		f.tails.put(&n)
	}
	return &n
}

// merge joins the last segments when mergeCount of one level end the blob. A failure is only logged: the blob is whole without it.
func (f *Front) merge(ctx context.Context, held func() error, i *info) bool {
	k := len(i.segs) - mergeCount
	if k < 0 {
		return false
	}
	run := i.segs[k:]
	if run[mergeCount-1].end()-run[0].offset > maxMergedBytes {
		return false
	}
	for _, s := range run {
		if s.level != run[0].level {
			return false
		}
	}
	joined := segment{offset: run[0].offset, size: run[mergeCount-1].end() - run[0].offset, level: run[0].level + 1}
	src := &lazyReader{}
	for _, s := range run {
		src.open = append(src.open, func() (io.ReadCloser, error) { return f.cfg.Bucket.NewReader(ctx, s.key(i.name), nil) })
	}
	defer src.Close()
	opts := &blob.WriterOptions{ContentType: "application/octet-stream"}
	err := f.upload(ctx, joined.key(i.name), opts, src, func(finish func() error) error {
		if err := held(); err != nil {
			return err
		}
		return finish()
	})
	if err == nil {
		err = f.deleteSegments(ctx, i.name, i.extra)
	}
	if err != nil {
		f.cfg.Log.Warn("merging segments", "blob", i.name.String(), "err", err)
		return false
	}
	i.extra = slices.Clone(run)
	i.segs = append(slices.Clone(i.segs[:k]), joined)
	return true
}

// appendReader reads a range of an append blob. When a segment was merged away it looks at the blob again.
type appendReader struct {
	ctx  context.Context
	f    *Front
	i    *info
	pos  int64
	end  int64
	cur  io.ReadCloser
	gone int // consecutive looks without progress
}

func (a *appendReader) Read(p []byte) (int, error) {
	for {
		if a.pos >= a.end {
			return 0, io.EOF
		}
		if a.cur == nil {
			if err := a.next(); err != nil {
				return 0, err
			}
			continue
		}
		n, err := a.cur.Read(p[:min(int64(len(p)), a.end-a.pos)])
		a.pos += int64(n)
		if err != nil {
			a.cur.Close()
			a.cur = nil
			if !errors.Is(err, io.EOF) {
				return n, err
			}
		}
		if n > 0 {
			a.gone = 0
			return n, nil
		}
	}
}

func (a *appendReader) next() error {
	for _, s := range a.i.segs {
		if a.pos < s.offset || a.pos >= s.end() {
			continue
		}
		rd, err := a.f.cfg.Bucket.NewRangeReader(a.ctx, s.key(a.i.name), a.pos-s.offset, min(s.end(), a.end)-a.pos, nil)
		if err == nil {
			a.cur = rd
			return nil
		}
		if !isNotFound(err) {
			return fmt.Errorf("reading %s: %w", a.i.name, err)
		}
		break
	}
	if a.gone++; a.gone > 3 {
		return fmt.Errorf("reading %s at %d: it was replaced or removed meanwhile", a.i.name, a.pos)
	}
	i, err := a.f.statAppend(a.ctx, a.i.name)
	if err != nil {
		return err
	}
	a.i = i
	return nil
}

// Close closes the segment being read.
func (a *appendReader) Close() error {
	if a.cur != nil {
		return a.cur.Close()
	}
	return nil
}

// tailCache remembers the ends of append blobs, so that an append need not list segments.
type tailCache struct {
	mu sync.Mutex
	m  map[blobName]*info
}

const maxTails = 4096

func (c *tailCache) get(n blobName) *info {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m[n]
}

func (c *tailCache) put(i *info) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = make(map[blobName]*info)
	}
	if _, ok := c.m[i.name]; !ok && len(c.m) >= maxTails {
		for k := range c.m { // any one will do
			delete(c.m, k)
			break
		}
	}
	c.m[i.name] = i
}

func (c *tailCache) drop(n blobName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, n)
}
