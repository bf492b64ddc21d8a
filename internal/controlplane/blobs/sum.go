package blobs

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"io"
	"sync"

	"github.com/google/uuid"
	"gocloud.dev/blob"
)

// maxSummedFirst is up to what size a blob's MD5 is known before its first byte is written. S3 takes metadata before the content only;
// the MD5 of a larger blob goes to the list of its committed blocks.
const maxSummedFirst = 4 << 20

// writeBlock writes and commits a block blob and makes sure that its MD5 is known. list is what is kept of its blocks.
func (f *Front) writeBlock(r *request, opts *blob.WriterOptions, content *body, list committedBlocks, over *info) (i *info, err error) {
	if f.s3 && opts.Metadata[metaMD5] == "" {
		content.hashMD5()
		first, err := io.ReadAll(io.LimitReader(content, maxSummedFirst+1))
		if err != nil {
			return nil, err
		}
		if len(first) <= maxSummedFirst {
			opts.Metadata[metaMD5] = content.sum()
		} else {
			list.Nonce = cmp.Or(list.Nonce, uuid.NewString())
		}
		content.Reader = io.MultiReader(bytes.NewReader(first), content.Reader)
	}
	if list.Nonce != "" {
		opts.Metadata[metaBlocks] = list.Nonce
	}
	err = f.upload(r.Context(), r.name.blockKey(), opts, content, func(finish func() error) (err error) {
		if err := content.check(); err != nil {
			return err
		}
		if content.md5 != nil {
			list.MD5 = content.sum()
		}
		i, err = f.commitBlock(r, opts, over, func() error {
			if list.Nonce != "" {
				if err := f.saveCommitted(r.Context(), r.name, list); err != nil {
					return err
				}
			}
			return finish()
		})
		return err
	})
	return i, err
}

// md5Of is the MD5 of a block blob's content, "" if nobody knows. What S3 says is none where it encrypts, nor of what came in parts.
func (f *Front) md5Of(ctx context.Context, i *info) (string, error) {
	nonce := i.attrs.Metadata[metaBlocks]
	switch sum := i.attrs.Metadata[metaMD5]; {
	case sum != "":
		return sum, nil
	case !f.s3 && len(i.attrs.MD5) > 0:
		return base64.StdEncoding.EncodeToString(i.attrs.MD5), nil
	case !f.s3 || nonce == "":
		return "", nil
	}
	if sum, ok := f.sums.get(nonce); ok {
		return sum, nil
	}
	list, err := f.readCommitted(ctx, i)
	if err == nil && list.Nonce != "" {
		f.sums.add(nonce, list.MD5)
	}
	return list.MD5, err
}

// sumCache remembers MD5s of contents by the nonces of their lists, which never change.
type sumCache struct {
	mu sync.Mutex
	m  map[string]string
}

const maxSums = 10_000

func (c *sumCache) get(nonce string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum, ok := c.m[nonce]
	return sum, ok
}

func (c *sumCache) add(nonce, sum string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= maxSums {
		c.m = make(map[string]string)
	}
	c.m[nonce] = sum
}
