package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/uuid"
	"gocloud.dev/blob"
)

// Item is one blob of a list.
type Item struct {
	// Name is relative to the container; Size is in bytes.
	Name    string
	Size    int64
	ModTime time.Time
}

// IsNotFound reports whether an error says that a blob does not exist.
func IsNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == "BlobNotFound"
}

// Exists reports whether a blob exists.
func (f *Front) Exists(ctx context.Context, account, container, name string) (bool, error) {
	n, err := checkName(account, container, name)
	if err != nil {
		return false, err
	}
	i, err := f.statIfAny(ctx, n)
	return i != nil, err
}

// List returns all blobs of a container whose names begin with prefix.
func (f *Front) List(ctx context.Context, account, container, prefix string) ([]Item, error) {
	n, err := checkName(account, container, "")
	if err == nil {
		err = checkPrefix(prefix)
	}
	if err != nil {
		return nil, err
	}
	var out []Item
	for token := ""; ; {
		entries, next, err := f.page(ctx, n, prefix, "", token, maxListPage, false)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			out = append(out, Item{Name: e.name, Size: e.size, ModTime: e.modTime})
		}
		if token = next; token == "" {
			return out, nil
		}
	}
}

// NewReader reads a blob from offset to the end it has now, and tells its size in bytes. An offset at or beyond the end
// reads nothing.
func (f *Front) NewReader(ctx context.Context, account, container, name string, offset int64) (io.ReadCloser, int64, error) {
	n, err := checkName(account, container, name)
	if err != nil {
		return nil, 0, err
	}
	if offset < 0 || n.name == "" {
		return nil, 0, errorf(http.StatusBadRequest, "OutOfRangeInput", "Reading %s at offset %d: a name and an offset from 0 are needed.", n, offset)
	}
	i, _, rc, err := f.statOpen(ctx, n, func(i *info) (span, error) { return span{min(offset, i.size), i.size}, nil })
	if err != nil {
		return nil, 0, err
	}
	return rc, i.size, nil
}

// Delete removes a blob; one that does not exist is no error.
func (f *Front) Delete(ctx context.Context, account, container, name string) error {
	n, err := checkName(account, container, name)
	if err != nil {
		return err
	}
	held, unlock, err := f.lock(ctx, n)
	if err != nil {
		return err
	}
	defer unlock()
	if err := held(); err != nil {
		return err
	}
	return f.remove(ctx, n)
}

// ErrPosition: the blob's end is not where an Append expects it; someone else wrote, or an earlier Append was not recorded.
var ErrPosition = errors.New("the blob ends elsewhere")

// Append writes data at the end of an append blob, which must be at the given offset; at offset 0 the blob is made.
func (f *Front) Append(ctx context.Context, account, container, name string, at int64, data []byte) error {
	n, err := checkName(account, container, name)
	if err != nil {
		return err
	}
	held, unlock, err := f.lock(ctx, n)
	if err != nil {
		return err
	}
	defer unlock()
	if at == 0 {
		opts := &blob.WriterOptions{ContentType: "application/octet-stream", IfNotExist: true, Metadata: map[string]string{metaWrite: uuid.NewString()}}
		err := f.write(ctx, n.headKey(), nil, opts)
		if err != nil && !taken(err) {
			return fmt.Errorf("creating %s: %w", n, err)
		}
	}
	r := (&http.Request{Header: http.Header{}}).WithContext(ctx) // an append without conditions of HTTP
	_, _, err = f.appendAt(&request{Request: r, name: n}, held, data, at, -1)
	var e *Error
	if errors.As(err, &e) && e.Code == "AppendPositionConditionNotMet" {
		return fmt.Errorf("%w: %s", ErrPosition, e.Message)
	}
	return err
}

// IsFile reports whether there is a blob at an address of this front.
func (f *Front) IsFile(ctx context.Context, address string) (bool, error) {
	account, container, name, ok := Split(address)
	if !ok || name == "" {
		return false, nil
	}
	return f.Exists(ctx, account, container, name)
}

// Put writes a blob from content to its end, in place of one that is there; when content fails nothing is written.
func (f *Front) Put(ctx context.Context, account, container, name, contentType string, content io.Reader) error {
	n, err := checkName(account, container, name)
	if err != nil {
		return err
	}
	if n.name == "" {
		return errorf(http.StatusBadRequest, "InvalidUri", "A blob to write in %s needs a name.", n)
	}
	r := &request{Request: (&http.Request{Header: http.Header{"X-Ms-Blob-Content-Type": {contentType}}}).WithContext(ctx), name: n}
	opts, err := f.writerOptions(r)
	if err != nil {
		return err
	}
	_, err = f.writeBlock(r, opts, &body{Reader: content}, committedBlocks{}, nil)
	return err
}
