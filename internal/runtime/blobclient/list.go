package blobclient

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Blob is one entry of a listing.
type Blob struct {
	// Name is relative to the listed folder.
	Name string
	// URL is where the blob is.
	URL  string
	Size int64
	// MD5 of the content; nil when the store has none.
	MD5 []byte
	// ETag names this version of the content, without quotes; Modified is when it was written. Both are zero when the store does not say.
	ETag     string
	Modified time.Time
	// Mode is the file mode kept in the blob's metadata ("fairlead_mode", octal); "" when there is none.
	Mode string
}

// maxListPage bounds one page of a listing, in bytes.
const maxListPage = 32 << 20

// List calls fn for every blob below a folder's URL, page by page.
func (c *Client) List(ctx context.Context, folder string, fn func(Blob) error) error {
	if c.s3(folder) {
		return c.listS3(ctx, folder, fn)
	}
	container, prefix, err := c.split(folder)
	if err != nil {
		return err
	}
	marker := ""
	for {
		page, err := c.listPage(ctx, container, prefix, marker)
		if err != nil {
			return err
		}
		for _, b := range page.blobs(container, prefix) {
			if err := fn(b); err != nil {
				return err
			}
		}
		if page.NextMarker == "" {
			return nil
		}
		if page.NextMarker == marker {
			return fmt.Errorf("listing %s: the store answered the same page twice", folder)
		}
		marker = page.NextMarker
	}
}

// split parts a folder's URL into its container's URL and the prefix of names, which ends with a slash unless empty.
func (c *Client) split(folder string) (container, prefix string, err error) {
	base := c.cfg.Base
	if c.s3(folder) {
		base = c.cfg.Datastores
	}
	rest, ok := strings.CutPrefix(redact(folder), base+"/")
	if !ok {
		return "", "", fmt.Errorf("folder %s is not below the workspace's storage %s; only single files can be read from elsewhere", redact(folder), base)
	}
	parts := strings.SplitN(strings.TrimRight(rest, "/"), "/", 3)
	if len(parts) < 2 || parts[0] == "" || parts[1] == "" {
		return "", "", fmt.Errorf("folder %s names no account and container", redact(folder))
	}
	container = base + "/" + parts[0] + "/" + parts[1]
	if len(parts) == 3 {
		if prefix, err = url.PathUnescape(parts[2]); err != nil {
			return "", "", fmt.Errorf("folder %s: %w", redact(folder), err)
		}
		prefix += "/"
	}
	return container, prefix, nil
}

func (c *Client) listPage(ctx context.Context, container, prefix, marker string) (listPage, error) {
	u := container + "?restype=container&comp=list&include=metadata&prefix=" + url.QueryEscape(prefix)
	if marker != "" {
		u = withQuery(u, "marker", marker)
	}
	var page listPage
	err := c.readXML(ctx, request{method: http.MethodGet, url: u, want: http.StatusOK}, func(b []byte) (err error) {
		page, err = parseList(b)
		return err
	})
	return page, err
}

// readXML gives a whole document to parse.
func (c *Client) readXML(ctx context.Context, q request, parse func([]byte) error) error {
	return c.do(ctx, q, func(r *http.Response) error {
		b, err := io.ReadAll(io.LimitReader(r.Body, maxListPage+1))
		if err != nil {
			return retryable{fmt.Errorf("reading answer: %w", err)}
		}
		if len(b) > maxListPage {
			return fmt.Errorf("%s %s: the answer is larger than %d bytes", q.method, redact(q.url), maxListPage)
		}
		return parse(b)
	})
}

type listPage struct {
	Blobs struct {
		Blob []struct {
			Name       listName
			Properties struct {
				ContentLength int64  `xml:"Content-Length"`
				ContentMD5    string `xml:"Content-MD5"`
				ETag          string `xml:"Etag"`
				Modified      string `xml:"Last-Modified"`
			}
			Metadata struct {
				Mode string `xml:"fairlead_mode"`
			}
		}
	}
	NextMarker string
}

// listName is a name, percent-encoded when it holds characters that XML cannot.
type listName struct {
	Encoded bool   `xml:"Encoded,attr"`
	Text    string `xml:",chardata"`
}

func parseList(b []byte) (listPage, error) {
	var page listPage
	if err := xml.Unmarshal(b, &page); err != nil {
		return listPage{}, fmt.Errorf("parsing list of blobs: %w", err)
	}
	return page, nil
}

func (p listPage) blobs(container, prefix string) []Blob {
	out := make([]Blob, 0, len(p.Blobs.Blob))
	for _, e := range p.Blobs.Blob {
		name := e.Name.Text
		if e.Name.Encoded {
			if dec, err := url.PathUnescape(name); err == nil {
				name = dec
			}
		}
		rel, ok := strings.CutPrefix(name, prefix)
		if !ok || rel == "" {
			continue
		}
		b := Blob{Name: rel, URL: container + "/" + EscapePath(name), Size: e.Properties.ContentLength, Mode: e.Metadata.Mode,
			ETag: strings.Trim(e.Properties.ETag, `"`)}
		b.Modified, _ = http.ParseTime(e.Properties.Modified)
		if sum, err := base64.StdEncoding.DecodeString(e.Properties.ContentMD5); err == nil && len(sum) == 16 {
			b.MD5 = sum
		}
		out = append(out, b)
	}
	return out
}

// EscapePath escapes each segment of a blob's name for a URL and keeps the slashes.
func EscapePath(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// Join appends a relative, unescaped name to a folder's URL.
func Join(folder, name string) string { return strings.TrimRight(folder, "/") + "/" + EscapePath(name) }
