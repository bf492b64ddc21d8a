package blobclient

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// s3Properties are what S3 says of an object. Its ETag is the MD5 of the content unless the object was sent in parts or is
// encrypted with a key that the store does not choose.
func s3Properties(r *http.Response) Properties {
	p := Properties{Size: r.ContentLength, ETag: strings.Trim(r.Header.Get("ETag"), `"`)}
	if r.StatusCode == http.StatusPartialContent {
		p.Size = totalSize(r)
	}
	if alg := r.Header.Get("x-amz-server-side-encryption"); alg != "" && alg != "AES256" || r.Header.Get("x-amz-server-side-encryption-customer-algorithm") != "" {
		return p
	}
	if sum, err := hex.DecodeString(p.ETag); err == nil && len(sum) == md5.Size {
		p.MD5 = sum
	}
	return p
}

// s3Put is the request for a whole object. The store checks its MD5.
func s3Put(object string, content []byte, sum [md5.Size]byte) request {
	return request{method: http.MethodPut, url: object, body: content, want: http.StatusOK,
		header: map[string]string{"Content-MD5": base64.StdEncoding.EncodeToString(sum[:])}}
}

// listS3 is List in S3.
func (c *Client) listS3(ctx context.Context, folder string, fn func(Blob) error) error {
	bucket, prefix, err := c.split(folder)
	if err != nil {
		return err
	}
	for token := ""; ; {
		u := bucket + "?list-type=2&encoding-type=url&prefix=" + url.QueryEscape(prefix)
		if token != "" {
			u = withQuery(u, "continuation-token", token)
		}
		var page s3Page
		err := c.readXML(ctx, request{method: http.MethodGet, url: u, want: http.StatusOK}, func(b []byte) (err error) {
			page, err = parseS3Page(b)
			return err
		})
		if err != nil {
			return err
		}
		for _, o := range page.Contents {
			if b, ok := o.blob(bucket, prefix, page.Prefix); ok {
				if err := fn(b); err != nil {
					return err
				}
			}
		}
		if !page.IsTruncated {
			return nil
		}
		if page.NextContinuationToken == "" || page.NextContinuationToken == token {
			return fmt.Errorf("listing %s: the store answered the same page twice", folder)
		}
		token = page.NextContinuationToken
	}
}

// s3Page is one page of a list.
type s3Page struct {
	XMLName xml.Name `xml:"ListBucketResult"`
	// Prefix is the one that was asked for, below which the datastore's own folder is.
	Prefix                string
	EncodingType          string
	IsTruncated           bool
	NextContinuationToken string
	Contents              []s3Object
}

type s3Object struct {
	Key          string
	Size         int64
	ETag         string
	LastModified string
}

func parseS3Page(b []byte) (s3Page, error) {
	var p s3Page
	if err := xml.Unmarshal(b, &p); err != nil {
		return s3Page{}, fmt.Errorf("parsing list of objects: %w", err)
	}
	if !strings.EqualFold(p.EncodingType, "url") {
		return p, nil
	}
	var err error
	if p.Prefix, err = url.QueryUnescape(p.Prefix); err != nil {
		return s3Page{}, fmt.Errorf("parsing list of objects: prefix: %w", err)
	}
	for i := range p.Contents {
		o := &p.Contents[i]
		if o.Key, err = url.QueryUnescape(o.Key); err != nil {
			return s3Page{}, fmt.Errorf("parsing list of objects: key: %w", err)
		}
	}
	return p, nil
}

// blob is an object below a folder; ok is false for what is not.
func (o s3Object) blob(bucket, prefix, fullPrefix string) (b Blob, ok bool) {
	rel, ok := strings.CutPrefix(o.Key, fullPrefix)
	if !ok || rel == "" {
		return Blob{}, false
	}
	b = Blob{Name: rel, URL: bucket + "/" + EscapePath(prefix+rel), Size: o.Size, ETag: strings.Trim(o.ETag, `"`)}
	b.Modified, _ = time.Parse(time.RFC3339, o.LastModified)
	return b, true
}
