package blobclient

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// maxParts is how many parts an object may be sent in.
	maxParts = 10000
	// partGrain is what sizes of parts are whole multiples of.
	partGrain = 1 << 20
)

// partSize is blockSize, or more where that would make too many parts.
func partSize(size int64) int64 {
	grains := (size + maxParts*partGrain - 1) / (maxParts * partGrain)
	return max(blockSize, grains*partGrain)
}

// part is one part of an upload, as the store names it. sum is its MD5.
type part struct {
	XMLName    xml.Name `xml:"Part"`
	PartNumber int
	ETag       string
	sum        [md5.Size]byte
}

// uploadParts writes an object in parts that become it together, or not at all: allowed is asked again before they do.
func (c *Client) uploadParts(ctx context.Context, object string, f io.ReaderAt, size int64, allowed func(context.Context) error) error {
	id, err := c.createUpload(ctx, object)
	if err != nil {
		return err
	}
	parts, err := c.putParts(ctx, object, id, f, size)
	if err == nil {
		err = allowed(ctx)
	}
	if err == nil {
		err = c.completeUpload(ctx, object, id, parts)
	}
	if err == nil {
		return nil
	}
	// One try, so that nothing is left that is paid for; the error is the news.
	abort, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_, _ = c.once(abort, request{method: http.MethodDelete, url: withQuery(object, "uploadId", id), want: http.StatusNoContent}, nil)
	return err
}

func (c *Client) createUpload(ctx context.Context, object string) (id string, err error) {
	err = c.readXML(ctx, request{method: http.MethodPost, url: withQuery(object, "uploads", ""), body: []byte{}, want: http.StatusOK}, func(b []byte) error {
		var doc struct{ UploadId string }
		if err := xml.Unmarshal(b, &doc); err != nil || doc.UploadId == "" {
			return fmt.Errorf("beginning the upload of %s: the store gave no upload id", redact(object))
		}
		id = doc.UploadId
		return nil
	})
	return id, err
}

func (c *Client) putParts(ctx context.Context, object, id string, f io.ReaderAt, size int64) ([]part, error) {
	each := partSize(size)
	parts := make([]part, (size+each-1)/each)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(transferStreams)
	for i := range parts {
		off := int64(i) * each
		g.Go(func() (err error) {
			parts[i], err = c.putPart(gctx, object, id, i+1, io.NewSectionReader(f, off, min(each, size-off)))
			return err
		})
	}
	return parts, g.Wait()
}

func (c *Client) putPart(ctx context.Context, object, id string, number int, r *io.SectionReader) (part, error) {
	buf := make([]byte, r.Size())
	if _, err := io.ReadFull(r, buf); err != nil {
		return part{}, fmt.Errorf("reading part %d of the file: %w", number, err)
	}
	p := part{PartNumber: number, sum: md5.Sum(buf)}
	u := withQuery(withQuery(object, "partNumber", strconv.Itoa(number)), "uploadId", id)
	err := c.do(ctx, s3Put(u, buf, p.sum), func(r *http.Response) error {
		if p.ETag = r.Header.Get("ETag"); p.ETag == "" {
			return fmt.Errorf("sending part %d of %s: the store gave no ETag", number, redact(object))
		}
		return nil
	})
	return p, err
}

// completeUpload makes an object of its parts. The store may take long, and may then tell an error with status 200.
func (c *Client) completeUpload(ctx context.Context, object, id string, parts []part) error {
	body, err := xml.Marshal(struct {
		XMLName xml.Name `xml:"CompleteMultipartUpload"`
		Parts   []part
	}{Parts: parts})
	if err != nil {
		return fmt.Errorf("encoding list of parts: %w", err)
	}
	q := request{method: http.MethodPost, url: withQuery(object, "uploadId", id), body: body, want: http.StatusOK, header: map[string]string{"Content-Type": "application/xml"}}
	err = c.readXML(ctx, q, func(b []byte) error {
		var doc struct {
			XMLName       xml.Name
			Code, Message string
		}
		if err := xml.Unmarshal(b, &doc); err != nil {
			return fmt.Errorf("ending the upload of %s: %w", redact(object), err)
		}
		if doc.XMLName.Local == "Error" {
			return &StatusError{Method: q.method, URL: redact(object), Status: http.StatusInternalServerError, Code: doc.Code, Message: doc.Message}
		}
		return nil
	})
	if se := new(StatusError); errors.As(err, &se) && se.Code == "NoSuchUpload" && c.isMadeOf(ctx, object, parts) {
		return nil // an earlier try was heard, and its answer got lost
	}
	return err
}

// isMadeOf reports whether an object is there that was made of these parts, which its ETag tells.
func (c *Client) isMadeOf(ctx context.Context, object string, parts []part) bool {
	h := md5.New()
	for _, p := range parts {
		h.Write(p.sum[:])
	}
	p, err := c.Head(ctx, object)
	return err == nil && strings.EqualFold(p.ETag, fmt.Sprintf("%s-%d", hex.EncodeToString(h.Sum(nil)), len(parts)))
}
