package blobs

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc64"
	"io"
	"net/http"
	"strings"

	"github.com/google/uuid"
	"gocloud.dev/blob"
)

// maxPutBlob bounds one Put Blob or Put Block, in bytes.
const maxPutBlob = 5000 << 20

// upload streams body to key. commit is called after the last byte with a function that makes the object visible; when commit
// returns an error without calling it, nothing was written.
func (f *Front) upload(ctx context.Context, key string, opts *blob.WriterOptions, body io.Reader, commit func(finish func() error) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := f.newWriter(ctx, key, opts)
	if err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	open := true
	defer func() {
		if open {
			cancel()
			_ = w.Close() // discards what was written
		}
	}()
	if _, err := io.Copy(w, body); err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	return commit(func() error {
		open = false
		if err := w.commit(); err != nil {
			return fmt.Errorf("writing %s: %w", key, err)
		}
		return nil
	})
}

// crc64Header is the other sum that a client may give with a body: 8 bytes, the least significant first.
const crc64Header = "x-ms-content-crc64"

// crc64Table is of the polynomial of x-ms-content-crc64.
var crc64Table = crc64.MakeTable(0x9A6C9329AC4BC9B5)

// body is the request's body, with its declared length and sums checked once it is read.
type body struct {
	io.Reader
	io.Closer // of a source; nil for a request's own
	header    http.Header
	md5       hash.Hash   // nil: nothing to compare with
	want      []string    // base64 of what md5 must give
	crc       hash.Hash64 // nil: nothing to compare with
}

func requestBody(r *request, limit int64) (*body, error) {
	if r.ContentLength < 0 {
		return nil, errorf(http.StatusLengthRequired, "MissingContentLengthHeader", "Content-Length header was not specified.")
	}
	if r.ContentLength > limit {
		return nil, errorf(http.StatusRequestEntityTooLarge, "RequestBodyTooLarge",
			"The request body of %d bytes is larger than the %d bytes that this operation takes.", r.ContentLength, limit)
	}
	if source := r.Header.Get(copySource); source != "" {
		return nil, errorf(http.StatusBadRequest, "UnsupportedHeader", "Content by %s is not supported by this operation; read %.200q and send it.", copySource, withoutQuery(source))
	}
	b := &body{Reader: r.Body, header: r.Header}
	if sum := r.Header.Get("Content-MD5"); sum != "" {
		if err := checkMD5Header("Content-MD5", sum); err != nil {
			return nil, err
		}
		b.expectMD5(sum)
	}
	if v := r.Header.Get(crc64Header); v != "" {
		if sum, err := base64.StdEncoding.DecodeString(v); err != nil || len(sum) != 8 {
			return nil, errorf(http.StatusBadRequest, "InvalidHeaderValue", "%s %.64q is not the base64 of 8 bytes.", crc64Header, v)
		}
		b.crc = crc64.New(crc64Table)
		b.Reader = io.TeeReader(b.Reader, b.crc)
	}
	return b, nil
}

// withoutQuery is an address without its query, where signatures are.
func withoutQuery(address string) string {
	address, _, _ = strings.Cut(address, "?")
	return address
}

// expectMD5 makes check compare one more sum; nothing may have been read.
func (b *body) expectMD5(sum string) {
	b.want = append(b.want, sum)
	b.hashMD5()
}

// hashMD5 makes md5 the sum of what is read from now on.
func (b *body) hashMD5() {
	if b.md5 == nil {
		b.md5 = md5.New()
		b.Reader = io.TeeReader(b.Reader, b.md5)
	}
}

// sum is the base64 of md5.
func (b *body) sum() string { return base64.StdEncoding.EncodeToString(b.md5.Sum(nil)) }

func (b *body) check() error {
	for _, want := range b.want {
		if err := sameMD5(want, b.md5.Sum(nil)); err != nil {
			return err
		}
	}
	if b.crc == nil {
		return nil
	}
	var sum [8]byte
	binary.LittleEndian.PutUint64(sum[:], b.crc.Sum64())
	if got, want := base64.StdEncoding.EncodeToString(sum[:]), b.header.Get(crc64Header); got != want {
		return errorf(http.StatusBadRequest, "Crc64Mismatch", "The CRC64 value specified in the request (%s) did not match with the CRC64 value calculated by the server (%s).", want, got)
	}
	return nil
}

// sameMD5 compares a sum that the client gave with the content's.
func sameMD5(want string, sum []byte) error {
	if got := base64.StdEncoding.EncodeToString(sum); got != want {
		return errorf(http.StatusBadRequest, "Md5Mismatch", "The MD5 value specified in the request (%s) did not match with the MD5 value calculated by the server (%s).", want, got)
	}
	return nil
}

// confirm tells the client which of its sums were compared.
func (b *body) confirm(h http.Header) {
	if sum := b.header.Get("Content-MD5"); sum != "" {
		h.Set("Content-MD5", sum)
	}
	if b.crc != nil {
		h.Set(crc64Header, b.header.Get(crc64Header))
	}
}

// mayReplace checks a write's conditions against what is there now; the blob's lock must be held.
func (f *Front) mayReplace(r *request) (*info, error) {
	old, err := f.statIfAny(r.Context(), r.name)
	if err != nil {
		return nil, err
	}
	if err := checkWrite(r.Header, old); err != nil {
		return nil, err
	}
	if old != nil && !r.mayOverwrite() {
		return nil, errorf(http.StatusForbidden, "AuthorizationPermissionMismatch",
			"The signature grants %q, which creates blobs but does not replace them; %s exists.", r.perms, r.name)
	}
	return old, nil
}

// commitBlock makes an uploaded block blob visible under the blob's lock; when over is not nil it must still be the blob that is there.
func (f *Front) commitBlock(r *request, opts *blob.WriterOptions, over *info, finish func() error) (*info, error) {
	held, unlock, err := f.lock(r.Context(), r.name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	old, err := f.mayReplace(r)
	if err != nil {
		return nil, err
	}
	if over != nil && (old == nil || old.etag != over.etag) {
		return nil, errBusy(nil)
	}
	if err := held(); err != nil {
		return nil, err
	}
	err = finish()
	if opts.IfNotExist && taken(err) {
		return nil, errorf(http.StatusConflict, "BlobAlreadyExists", "The specified blob already exists: %s.", r.name)
	}
	if err != nil {
		return nil, err
	}
	if old != nil && old.isAppend {
		if err := f.removeAppend(r.Context(), r.name); err != nil {
			return nil, err
		}
	}
	return f.stat(r.Context(), r.name)
}

func (f *Front) putBlob(r *request) error {
	if r.Header.Get(copySource) != "" {
		return f.copyBlob(r)
	}
	opts, err := f.writerOptions(r)
	if err != nil {
		return err
	}
	switch kind := r.Header.Get("x-ms-blob-type"); kind {
	case "AppendBlob":
		return f.createAppend(r, opts)
	case "BlockBlob":
	default:
		return errorf(http.StatusBadRequest, "InvalidHeaderValue", "x-ms-blob-type %q is not BlockBlob or AppendBlob.", kind)
	}
	b, err := requestBody(r, maxPutBlob)
	if err != nil {
		return err
	}
	opts.IfNotExist = strings.TrimSpace(r.Header.Get("If-None-Match")) == "*"
	if opts.IfNotExist { // answer before the body where possible
		if _, err := f.mayReplace(r); err != nil {
			return err
		}
	}
	if sum := opts.Metadata[metaMD5]; sum != "" {
		b.expectMD5(sum)
	} else if len(b.want) > 0 {
		opts.Metadata[metaMD5] = b.want[0]
	}
	i, err := f.writeBlock(r, opts, b, committedBlocks{}, nil)
	if err != nil {
		return err
	}
	b.confirm(r.w.Header())
	r.created(i, i.md5)
	return nil
}

// created answers a write.
func (r *request) created(i *info, md5 string) { r.answered(i, md5, http.StatusCreated) }

func (r *request) answered(i *info, md5 string, status int) {
	h := r.w.Header()
	h.Set("ETag", i.etag)
	h.Set("Last-Modified", httpTime(i.modTime))
	h.Set("x-ms-request-server-encrypted", "false")
	if md5 != "" {
		h.Set("Content-MD5", md5)
	}
	h.Set("Content-Length", "0")
	r.w.WriteHeader(status)
}

func (f *Front) deleteBlob(r *request) error {
	held, unlock, err := f.lock(r.Context(), r.name)
	if err != nil {
		return err
	}
	defer unlock()
	i, err := f.stat(r.Context(), r.name)
	if err != nil {
		return err
	}
	if err := checkWrite(r.Header, i); err != nil {
		return err
	}
	if err := held(); err != nil {
		return err
	}
	if err := f.remove(r.Context(), r.name); err != nil {
		return err
	}
	r.w.WriteHeader(http.StatusAccepted)
	return nil
}

// remove deletes a blob of either kind, and what a replacement by one of the other kind left that was cut short.
func (f *Front) remove(ctx context.Context, n blobName) error {
	there, err := f.cfg.Bucket.Exists(ctx, n.headKey())
	if err != nil {
		return fmt.Errorf("looking for %s: %w", n, err)
	}
	if there { // an append blob goes first: while there is a block blob, nobody sees it
		if err := f.removeAppend(ctx, n); err != nil {
			return err
		}
	}
	return f.removeBlock(ctx, n)
}

func (f *Front) removeBlock(ctx context.Context, n blobName) error {
	if err := f.cfg.Bucket.Delete(ctx, n.blockKey()); err != nil && !isNotFound(err) {
		return fmt.Errorf("deleting %s: %w", n, err)
	}
	if err := f.cfg.Bucket.Delete(ctx, n.committedKey()); err != nil && !isNotFound(err) {
		return fmt.Errorf("deleting block list of %s: %w", n, err)
	}
	return nil
}

// setMetadata replaces the metadata, setProperties the content headers; both write the object anew, since buckets offer nothing else.
func (f *Front) setMetadata(r *request) error {
	return f.rewrite(r, func(opts, asked *blob.WriterOptions) {
		for k := range opts.Metadata {
			if strings.HasPrefix(k, userMeta) {
				delete(opts.Metadata, k)
			}
		}
		for k, v := range asked.Metadata {
			if strings.HasPrefix(k, userMeta) {
				opts.Metadata[k] = v
			}
		}
	})
}

func (f *Front) setProperties(r *request) error {
	return f.rewrite(r, func(opts, asked *blob.WriterOptions) {
		opts.ContentType, opts.ContentEncoding, opts.ContentLanguage = asked.ContentType, asked.ContentEncoding, asked.ContentLanguage
		opts.ContentDisposition, opts.CacheControl = asked.ContentDisposition, asked.CacheControl
		if v := asked.Metadata[metaMD5]; v != "" {
			opts.Metadata[metaMD5] = v
		}
	})
}

// maxRewrites is how many blobs are written anew under their locks at once, fewer than a store has locks for a process.
const maxRewrites = 8

func (f *Front) rewrite(r *request, edit func(opts, asked *blob.WriterOptions)) error {
	asked, err := f.writerOptions(r)
	if err != nil {
		return err
	}
	select {
	case f.rewrites <- struct{}{}:
		defer func() { <-f.rewrites }()
	case <-r.Context().Done():
		return errBusy(r.Context().Err())
	}
	held, unlock, err := f.lock(r.Context(), r.name)
	if err != nil {
		return err
	}
	defer unlock()
	i, err := f.stat(r.Context(), r.name)
	if err != nil {
		return err
	}
	if err := checkWrite(r.Header, i); err != nil {
		return err
	}
	opts := propertiesOf(i)
	edit(opts, asked)
	key, src := i.name.blockKey(), io.NopCloser(io.Reader(bytes.NewReader(nil)))
	if i.isAppend {
		key = i.name.headKey()
		opts.Metadata[metaWrite] = uuid.NewString()
		f.tails.drop(r.name)
	} else if src, err = f.cfg.Bucket.NewReader(r.Context(), key, nil); err != nil {
		return fmt.Errorf("reading %s: %w", i.name, err)
	}
	defer src.Close()
	content := &body{Reader: src}
	if sum := asked.Metadata[metaMD5]; sum != "" && !i.isAppend && r.q.Get("comp") == "properties" {
		content.expectMD5(sum)
	}
	err = f.upload(r.Context(), key, opts, content, func(finish func() error) error {
		if err := content.check(); err != nil {
			return err
		}
		if now, err := f.statIfAny(r.Context(), r.name); err != nil || now == nil || now.etag != i.etag {
			return errBusy(err)
		}
		if err := held(); err != nil {
			return err
		}
		return finish()
	})
	if err != nil {
		return err
	}
	if i, err = f.stat(r.Context(), r.name); err != nil {
		return err
	}
	r.w.Header().Set("ETag", i.etag)
	r.w.Header().Set("Last-Modified", httpTime(i.modTime))
	r.w.WriteHeader(http.StatusOK)
	return nil
}
