package client

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // the blob protocol's checksum
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"fairlead.dev/fairlead/api/arm"
)

// BlockSize is the size in bytes of one uploaded block; smaller blobs are sent in one request.
const BlockSize = 8 << 20

const blobVersion = "2021-12-02"

// Container is a blob container reached by a SAS (or by the client's token when the SAS is empty).
type Container struct {
	c    *Client
	base url.URL
	sas  url.Values
}

// Blob is one entry of a container. MD5 is base64 and may be empty.
type Blob struct {
	Name, ETag, MD5 string
	Size            int64
}

// Container takes a container's address with its SAS as query.
func (c *Client) Container(sasURI string) (*Container, error) {
	u, err := url.Parse(sasURI)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("container address: not an absolute URL")
	}
	b := &Container{c: c, base: *u, sas: u.Query()}
	b.base.RawQuery, b.base.RawPath = "", ""
	b.base.Path = strings.TrimRight(b.base.Path, "/")
	return b, nil
}

// URL is the address of a name in the container, without signature.
func (b *Container) URL(name string) string {
	u := b.base
	if name != "" {
		u.Path += "/" + name
	}
	return u.String()
}

func (b *Container) do(ctx context.Context, method, name string, q url.Values, body []byte, h http.Header) (*Response, error) {
	query := url.Values{}
	for k, v := range b.sas {
		query[k] = v
	}
	for k, v := range q {
		query[k] = v
	}
	if h == nil {
		h = http.Header{}
	}
	h.Set("x-ms-version", blobVersion)
	if body != nil && h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/octet-stream")
	}
	req := Request{Method: method, Path: b.URL(name), Query: query, Header: h}
	if body != nil {
		req.Body = body
	}
	client := *b.c
	if len(b.sas) > 0 {
		client.cfg.Token = nil // the signature is the authority; a token beside it is refused by some servers
	}
	res, err := client.Do(ctx, req)
	return res, blobError(err)
}

// blobError reads the blob protocol's XML error.
func blobError(err error) error {
	var e *arm.Error
	if !errors.As(err, &e) {
		return err
	}
	if i := strings.Index(e.Message, "<Error>"); i >= 0 {
		var x struct {
			Code    string `xml:"Code"`
			Message string `xml:"Message"`
		}
		if xml.Unmarshal([]byte(e.Message[i:]), &x) == nil && x.Code != "" {
			return &arm.Error{Status: e.Status, Code: x.Code, Message: x.Message}
		}
	}
	return err
}

// List returns the blobs whose names begin with prefix, all pages. Metadata is asked for because some servers know
// checksums only then.
func (b *Container) List(ctx context.Context, prefix string) ([]Blob, error) {
	var out []Blob
	marker := ""
	for {
		q := url.Values{"restype": {"container"}, "comp": {"list"}, "prefix": {prefix}, "include": {"metadata"}, "maxresults": {"5000"}}
		if marker != "" {
			q.Set("marker", marker)
		}
		res, err := b.do(ctx, http.MethodGet, "", q, nil, nil)
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", b.URL(prefix), err)
		}
		var page struct {
			Blobs []struct {
				Name       string `xml:"Name"`
				Properties struct {
					Length int64  `xml:"Content-Length"`
					MD5    string `xml:"Content-MD5"`
					ETag   string `xml:"Etag"`
				} `xml:"Properties"`
			} `xml:"Blobs>Blob"`
			NextMarker string `xml:"NextMarker"`
		}
		if err := xml.Unmarshal(res.Body, &page); err != nil {
			return nil, fmt.Errorf("reading the list of %s: %w", b.URL(prefix), err)
		}
		for _, x := range page.Blobs {
			if x.Properties.ETag != "" { // lists give it without the quotes that conditions need
				x.Properties.ETag = `"` + strings.Trim(x.Properties.ETag, `"`) + `"`
			}
			out = append(out, Blob{Name: x.Name, ETag: x.Properties.ETag, MD5: x.Properties.MD5, Size: x.Properties.Length})
		}
		if page.NextMarker == "" || page.NextMarker == marker {
			return out, nil
		}
		marker = page.NextMarker
	}
}

// Upload writes one blob. Blocks that an interrupted upload left behind are not sent again: a block's id holds the hash
// of its content. sent is called with the number of bytes as they are accounted for; it may be nil.
func (b *Container) Upload(ctx context.Context, name string, r io.ReaderAt, size int64, sent func(int64)) error {
	if sent == nil {
		sent = func(int64) {}
	}
	if size <= BlockSize {
		data, err := section(r, 0, size)
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		h := md5Header(data, "Content-MD5", "x-ms-blob-content-md5")
		h.Set("x-ms-blob-type", "BlockBlob")
		if _, err := b.do(ctx, http.MethodPut, name, nil, data, h); err != nil {
			return fmt.Errorf("uploading %s: %w", name, err)
		}
		sent(size)
		return nil
	}
	return b.uploadBlocks(ctx, name, r, size, sent)
}

func (b *Container) uploadBlocks(ctx context.Context, name string, r io.ReaderAt, size int64, sent func(int64)) error {
	have := b.uncommitted(ctx, name)
	whole := md5.New() //nolint:gosec // the blob protocol's checksum
	var list bytes.Buffer
	list.WriteString(`<?xml version="1.0" encoding="utf-8"?><BlockList>`)
	for i, off := 0, int64(0); off < size; i, off = i+1, off+BlockSize {
		data, err := section(r, off, min(BlockSize, size-off))
		if err != nil {
			return fmt.Errorf("reading %s: %w", name, err)
		}
		whole.Write(data)
		sum := md5.Sum(data) //nolint:gosec // the blob protocol's checksum
		id := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%08d-%x", i, sum))
		if have[id] != int64(len(data)) {
			q := url.Values{"comp": {"block"}, "blockid": {id}}
			if _, err := b.do(ctx, http.MethodPut, name, q, data, md5Header(data, "Content-MD5")); err != nil {
				return fmt.Errorf("uploading block %d of %s: %w", i, name, err)
			}
		}
		list.WriteString("<Latest>" + id + "</Latest>")
		sent(int64(len(data)))
	}
	list.WriteString("</BlockList>")
	h := http.Header{"Content-Type": {"application/xml"}}
	h.Set("x-ms-blob-content-md5", base64.StdEncoding.EncodeToString(whole.Sum(nil)))
	if _, err := b.do(ctx, http.MethodPut, name, url.Values{"comp": {"blocklist"}}, list.Bytes(), h); err != nil {
		return fmt.Errorf("committing %s: %w", name, err)
	}
	return nil
}

// uncommitted gives the sizes of the blocks left by an earlier upload; none when the server does not say.
func (b *Container) uncommitted(ctx context.Context, name string) map[string]int64 {
	q := url.Values{"comp": {"blocklist"}, "blocklisttype": {"uncommitted"}}
	res, err := b.do(ctx, http.MethodGet, name, q, nil, nil)
	if err != nil {
		return nil
	}
	var x struct {
		Blocks []struct {
			Name string `xml:"Name"`
			Size int64  `xml:"Size"`
		} `xml:"UncommittedBlocks>Block"`
	}
	if xml.Unmarshal(res.Body, &x) != nil {
		return nil
	}
	out := make(map[string]int64, len(x.Blocks))
	for _, k := range x.Blocks {
		out[k.Name] = k.Size
	}
	return out
}

func section(r io.ReaderAt, off, n int64) ([]byte, error) {
	data := make([]byte, n)
	if _, err := io.ReadFull(io.NewSectionReader(r, off, n), data); err != nil {
		return nil, err
	}
	return data, nil
}

func md5Header(data []byte, names ...string) http.Header {
	sum := md5.Sum(data) //nolint:gosec // the blob protocol's checksum
	h := http.Header{}
	for _, n := range names {
		h.Set(n, base64.StdEncoding.EncodeToString(sum[:]))
	}
	return h
}
