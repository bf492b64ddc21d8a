package blobs

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"gocloud.dev/blob"
	"golang.org/x/sync/errgroup"
)

const (
	maxListPage = 1000
	maxLooks    = 16 // blobs of a page that are looked at at once
)

// entry is one line of a list: a blob, or a folder when a delimiter was asked for.
type entry struct {
	name    string
	folder  bool
	size    int64
	modTime time.Time
	info    *info // of a blob, when details were asked for
}

// page lists what begins with prefix, at most about limit entries; next is "" at the end. A page may be empty before the end.
// Order is by path, a folder after the blob of the same name.
func (f *Front) page(ctx context.Context, n blobName, prefix, delimiter, token string, limit int, details bool) (out []entry, next string, err error) {
	start := blob.FirstPageToken
	if token != "" {
		if start, err = base64.URLEncoding.DecodeString(token); err != nil || len(start) == 0 {
			return nil, "", errorf(http.StatusBadRequest, "OutOfRangeInput", "marker %.80q is not one that this service gave.", token)
		}
	}
	opts := &blob.ListOptions{Prefix: n.root() + encodeName(prefix), Delimiter: delimiter}
	objs, after, err := f.cfg.Bucket.ListPage(ctx, start, limit, opts)
	if err != nil {
		return nil, "", fmt.Errorf("listing %s/%s: %w", n.account, n.container, err)
	}
	entries := make([]*entry, len(objs))
	looks, ctx := errgroup.WithContext(ctx)
	looks.SetLimit(maxLooks)
	for k, o := range objs {
		looks.Go(func() error {
			e, ok, err := f.entryOf(ctx, n, o, details)
			if ok && strings.HasPrefix(e.name, prefix) {
				entries[k] = &e
			}
			return err
		})
	}
	if err := looks.Wait(); err != nil {
		return nil, "", err
	}
	for _, e := range entries {
		if e != nil {
			out = append(out, *e)
		}
	}
	if len(after) > 0 {
		next = base64.URLEncoding.EncodeToString(after)
	}
	return out, next, nil
}

// entryOf turns an object into an entry; segments, temporary files and blobs removed meanwhile are none.
func (f *Front) entryOf(ctx context.Context, n blobName, o *blob.ListObject, details bool) (e entry, ok bool, err error) {
	enc := o.Key[len(n.root()):]
	if o.IsDir {
		if folder, isFolder := strings.CutSuffix(enc, "+/"); isFolder {
			name, ok := decodeName(folder)
			return entry{name: name + "/", folder: true}, ok, nil
		}
		enc += "head" // the folder of an append blob
	}
	isAppend := false
	if enc, isAppend = strings.CutSuffix(enc, "!a/head"); !isAppend {
		if enc, ok = strings.CutSuffix(enc, "!"); !ok {
			return e, false, nil
		}
	}
	name, ok := decodeName(enc)
	if !ok {
		return e, false, nil
	}
	n.name = name
	if !isAppend && !details {
		return entry{name: name, size: o.Size, modTime: o.ModTime}, true, nil
	}
	i, err := f.statIfAny(ctx, n)
	if err != nil || i == nil || i.isAppend != isAppend {
		return e, false, err
	}
	return entry{name: name, size: i.size, modTime: i.modTime, info: i}, true, nil
}

type xmlList struct {
	XMLName       xml.Name  `xml:"EnumerationResults"`
	Endpoint      string    `xml:"ServiceEndpoint,attr"`
	ContainerName string    `xml:"ContainerName,attr"`
	Prefix        string    `xml:"Prefix,omitempty"`
	Marker        string    `xml:"Marker,omitempty"`
	MaxResults    int       `xml:"MaxResults,omitempty"`
	Delimiter     string    `xml:"Delimiter,omitempty"`
	Blobs         xmlBlobs  `xml:"Blobs"`
	NextMarker    xmlMarker `xml:"NextMarker"`
}

type xmlMarker struct {
	Text string `xml:",chardata"`
}

type xmlBlobs struct {
	Blobs    []xmlBlob   `xml:"Blob"`
	Prefixes []xmlPrefix `xml:"BlobPrefix"`
}

type xmlPrefix struct {
	Name string `xml:"Name"`
}

type xmlBlob struct {
	Name       string       `xml:"Name"`
	Properties xmlProps     `xml:"Properties"`
	Metadata   *xmlMetadata `xml:"Metadata"`
}

type xmlProps struct {
	Created     string `xml:"Creation-Time,omitempty"`
	Modified    string `xml:"Last-Modified"`
	ETag        string `xml:"Etag"`
	Length      int64  `xml:"Content-Length"`
	ContentType string `xml:"Content-Type,omitempty"`
	Encoding    string `xml:"Content-Encoding,omitempty"`
	Language    string `xml:"Content-Language,omitempty"`
	MD5         string `xml:"Content-MD5,omitempty"`
	Cache       string `xml:"Cache-Control,omitempty"`
	Disposition string `xml:"Content-Disposition,omitempty"`
	BlobType    string `xml:"BlobType"`
	LeaseStatus string `xml:"LeaseStatus"`
	LeaseState  string `xml:"LeaseState"`
}

type xmlMetadata struct {
	Items []xmlItem
}

type xmlItem struct {
	XMLName xml.Name
	Value   string `xml:",chardata"`
}

func xmlOf(i *info, metadata bool) xmlBlob {
	b := xmlBlob{Name: i.name.name, Properties: xmlProps{Modified: httpTime(i.modTime), ETag: strings.Trim(i.etag, `"`), Length: i.size, MD5: i.md5,
		BlobType: i.kind(), LeaseStatus: "unlocked", LeaseState: "available"}}
	a := i.attrs
	b.Properties.Created = httpTime(i.created())
	b.Properties.ContentType, b.Properties.Encoding, b.Properties.Language = a.ContentType, a.ContentEncoding, a.ContentLanguage
	b.Properties.Cache, b.Properties.Disposition = a.CacheControl, a.ContentDisposition
	if !metadata {
		return b
	}
	m := userMetadata(a.Metadata)
	b.Metadata = &xmlMetadata{}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if !metadataRule.MatchString(k) { // kept before names were checked, and no element of XML
			continue
		}
		b.Metadata.Items = append(b.Metadata.Items, xmlItem{XMLName: xml.Name{Local: k}, Value: m[k]})
	}
	return b
}

func (f *Front) listBlobs(r *request) error {
	limit, err := listLimit(r.q.Get("maxresults"))
	if err != nil {
		return err
	}
	delimiter := r.q.Get("delimiter")
	if delimiter != "" && delimiter != "/" {
		return errorf(http.StatusBadRequest, "InvalidQueryParameterValue", "delimiter=%.20q is not supported; use \"/\".", delimiter)
	}
	prefix := r.q.Get("prefix")
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	metadata := slices.Contains(strings.Split(r.q.Get("include"), ","), "metadata")
	marker := r.q.Get("marker")
	entries, next, err := f.page(r.Context(), r.name, prefix, delimiter, marker, limit, true) // lists of buckets lack MD5s and ETags
	if err != nil {
		return err
	}
	out := xmlList{Endpoint: f.cfg.PublicURL + PathPrefix + r.name.account + "/", ContainerName: r.name.container, Prefix: prefix, Marker: marker,
		Delimiter: delimiter, NextMarker: xmlMarker{next}}
	if r.q.Has("maxresults") {
		out.MaxResults = limit
	}
	for _, e := range entries {
		if e.folder {
			out.Blobs.Prefixes = append(out.Blobs.Prefixes, xmlPrefix{e.name})
		} else {
			out.Blobs.Blobs = append(out.Blobs.Blobs, xmlOf(e.info, metadata))
		}
	}
	return r.xml(out)
}

func listLimit(s string) (int, error) {
	if s == "" {
		return maxListPage, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, errorf(http.StatusBadRequest, "OutOfRangeQueryParameterValue", "maxresults=%.20q is not a number from 1 on.", s)
	}
	return min(n, maxListPage), nil
}

// checkPrefix allows what begins a legal name, so also a trailing slash or half a segment.
func checkPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	return checkBlobName(strings.TrimSuffix(prefix, "/") + "/x")
}

func (f *Front) getContainer(r *request) error {
	f.containerHeaders(r)
	r.w.WriteHeader(http.StatusOK)
	return nil
}

func (f *Front) createContainer(r *request) error {
	f.containerHeaders(r)
	r.w.WriteHeader(http.StatusCreated)
	return nil
}

// containerHeaders describes a container; all exist and have always existed.
func (f *Front) containerHeaders(r *request) {
	h := r.w.Header()
	h.Set("ETag", makeETag(time.Unix(0, 0), 0, ""))
	h.Set("Last-Modified", httpTime(time.Unix(0, 0)))
	h.Set("x-ms-lease-status", "unlocked")
	h.Set("x-ms-lease-state", "available")
	h.Set("x-ms-has-immutability-policy", "false")
	h.Set("x-ms-has-legal-hold", "false")
}
