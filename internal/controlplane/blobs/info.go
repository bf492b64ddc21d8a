package blobs

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gocloud.dev/blob"
)

// Names in a bucket's metadata: the user's own begin with userMeta, ours never do.
const (
	userMeta    = "m_"
	metaMD5     = "fl_sum"     // base64 of the content's MD5
	metaClaimed = "fl_md5"     // what earlier releases took for it from the client, and did not always compare
	metaCreated = "fl_created" // RFC 3339
	metaBlocks  = "fl_blocks"  // nonce of the list of committed blocks, which has the MD5 where this has not
	metaCopy    = "fl_copy"    // id of the copying that made it
	metaWrite   = "fl_write"   // nonce of an append blob's creation, or of the last change of its properties
)

// info is one blob as stored.
type info struct {
	name     blobName
	isAppend bool
	size     int64
	modTime  time.Time
	etag     string
	md5      string // base64; "" unknown
	claimed  bool   // md5 is metaClaimed
	attrs    *blob.Attributes
	segs     []segment // of an append blob, covering it from 0 to size
	extra    []segment // superseded by merged ones
}

// makeETag names one write of a blob: by its time where commit gives every write another, else by what the store or we call it.
func makeETag(mod time.Time, size int64, name string) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d/%d", mod.UnixNano(), size)
	if name != "" {
		fmt.Fprintf(h, "/%s", name)
	}
	return fmt.Sprintf(`"0x%016X"`, h.Sum64())
}

// nameOf is what the store calls one write of an object, "" where times tell writes apart.
func (f *Front) nameOf(a *blob.Attributes) string {
	if f.s3 {
		return a.ETag
	}
	return ""
}

// stat finds a blob of either kind; BlobNotFound when there is none.
func (f *Front) stat(ctx context.Context, n blobName) (*info, error) {
	a, err := f.cfg.Bucket.Attributes(ctx, n.blockKey())
	switch {
	case err == nil:
		i := &info{name: n, size: a.Size, modTime: a.ModTime, etag: makeETag(a.ModTime, a.Size, f.nameOf(a)), attrs: a}
		if i.md5, err = f.md5Of(ctx, i); i.md5 == "" {
			i.md5, i.claimed = a.Metadata[metaClaimed], true
		}
		return i, err
	case isNotFound(err):
		return f.statAppend(ctx, n)
	}
	return nil, fmt.Errorf("reading attributes of %s: %w", n, err)
}

// statIfAny is stat with nil for a blob that does not exist.
func (f *Front) statIfAny(ctx context.Context, n blobName) (*info, error) {
	i, err := f.stat(ctx, n)
	var e *Error
	if errors.As(err, &e) && e.Code == "BlobNotFound" {
		return nil, nil
	}
	return i, err
}

func (i *info) kind() string {
	if i.isAppend {
		return "AppendBlob"
	}
	return "BlockBlob"
}

func (i *info) created() time.Time {
	if t, err := time.Parse(time.RFC3339Nano, i.attrs.Metadata[metaCreated]); err == nil {
		return t
	}
	return i.modTime
}

// userMetadata is the blob's metadata without our own.
func userMetadata(m map[string]string) map[string]string {
	out := make(map[string]string)
	for k, v := range m {
		if u, ok := strings.CutPrefix(k, userMeta); ok {
			out[u] = v
		}
	}
	return out
}

func httpTime(t time.Time) string { return t.UTC().Format(http.TimeFormat) }

// headers sets everything a client learns of a blob but its length and MD5.
func (i *info) headers(h http.Header) {
	h.Set("ETag", i.etag)
	h.Set("Last-Modified", httpTime(i.modTime))
	h.Set("x-ms-creation-time", httpTime(i.created()))
	h.Set("x-ms-blob-type", i.kind())
	h.Set("x-ms-server-encrypted", "false")
	h.Set("x-ms-lease-status", "unlocked")
	h.Set("x-ms-lease-state", "available")
	h.Set("Accept-Ranges", "bytes")
	if i.isAppend {
		h.Set("x-ms-blob-committed-block-count", strconv.Itoa(len(i.segs)))
	}
	h.Set("Content-Type", i.attrs.ContentType)
	for k, v := range map[string]string{"Content-Encoding": i.attrs.ContentEncoding, "Content-Language": i.attrs.ContentLanguage,
		"Content-Disposition": i.attrs.ContentDisposition, "Cache-Control": i.attrs.CacheControl} {
		if v != "" {
			h.Set(k, v)
		}
	}
	i.copyHeaders(h)
	i.metaHeaders(h)
}

// metaHeaders keeps the lower case that some clients expect in metadata names.
func (i *info) metaHeaders(h http.Header) {
	m := userMetadata(i.attrs.Metadata)
	for _, k := range slices.Sorted(maps.Keys(m)) {
		h["x-ms-meta-"+k] = []string{m[k]}
	}
}

// writerOptions takes properties and metadata from a request that creates a blob.
func (f *Front) writerOptions(r *request) (*blob.WriterOptions, error) {
	h := r.Header
	first := func(keys ...string) string {
		for _, k := range keys {
			if v := h.Get(k); v != "" {
				return v
			}
		}
		return ""
	}
	opts := &blob.WriterOptions{
		ContentType:        first("x-ms-blob-content-type"),
		ContentEncoding:    first("x-ms-blob-content-encoding", "Content-Encoding"),
		ContentLanguage:    first("x-ms-blob-content-language", "Content-Language"),
		ContentDisposition: first("x-ms-blob-content-disposition"),
		CacheControl:       first("x-ms-blob-cache-control", "Cache-Control"),
	}
	if opts.ContentType == "" && r.q.Get("comp") == "" {
		opts.ContentType = h.Get("Content-Type")
	}
	if opts.ContentType == "" {
		opts.ContentType = "application/octet-stream"
	}
	meta, err := requestMetadata(h)
	if err != nil {
		return nil, err
	}
	meta[metaCreated] = f.cfg.Clock().UTC().Format(time.RFC3339Nano)
	if sum := h.Get("x-ms-blob-content-md5"); sum != "" {
		if err := checkMD5Header("x-ms-blob-content-md5", sum); err != nil {
			return nil, err
		}
		meta[metaMD5] = sum
	}
	opts.Metadata = meta
	return opts, nil
}

// metadataRule is what names of metadata are: identifiers, which are elements of XML in lists.
var metadataRule = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// maxMetadata bounds names and values of one blob's metadata together, in bytes.
const maxMetadata = 8 << 10

func requestMetadata(h http.Header) (map[string]string, error) {
	meta := make(map[string]string)
	total := 0
	for k, v := range h {
		name, ok := strings.CutPrefix(strings.ToLower(k), "x-ms-meta-")
		if !ok {
			continue
		}
		if name == "" {
			return nil, errorf(http.StatusBadRequest, "EmptyMetadataKey", "A metadata header x-ms-meta- has no name after it.")
		}
		if !metadataRule.MatchString(name) {
			return nil, errorf(http.StatusBadRequest, "InvalidMetadata",
				"The name of metadata %.64q is not valid: it must be a letter or an underscore, then letters, digits and underscores.", name)
		}
		value := strings.Join(v, ",")
		for _, c := range []byte(value) {
			if c < 0x20 || c > 0x7e {
				return nil, errorf(http.StatusBadRequest, "InvalidMetadata", "The value of metadata %q is not printable ASCII; encode it.", name)
			}
		}
		if total += len(name) + len(value); total > maxMetadata {
			return nil, errorf(http.StatusBadRequest, "MetadataTooLarge", "The metadata is larger than %d bytes.", maxMetadata)
		}
		meta[userMeta+name] = value
	}
	return meta, nil
}

func checkMD5Header(header, value string) error {
	if b, err := base64.StdEncoding.DecodeString(value); err != nil || len(b) != 16 {
		return errorf(http.StatusBadRequest, "InvalidMd5", "%s %.64q is not the base64 of 16 bytes.", header, value)
	}
	return nil
}
