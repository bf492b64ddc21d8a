package blobs

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"
	"gocloud.dev/blob"

	accounts "fairlead.dev/fairlead/internal/controlplane/types/account"
)

// copySource is the header that names a blob whose content a write takes.
const copySource = "x-ms-copy-source"

// source opens what a write names as its source: a blob of this server, which the address's own signature, a token for the source or
// the request's own token must let read. ranged is whether a part of it may be asked for.
func (f *Front) source(r *request, ranged bool) (i *info, content *body, err error) {
	from, err := f.sourceRequest(r)
	if err != nil {
		return nil, nil, err
	}
	if err := f.admit(from, operation{perms: "r"}); err != nil {
		return nil, nil, sourceError(err)
	}
	asked := ""
	if ranged {
		asked = r.Header.Get("x-ms-source-range")
	}
	i, _, rc, err := f.statOpen(r.Context(), from.name, func(i *info) (span, error) {
		if checkRead(from.Header, i) != nil {
			return span{}, errorf(http.StatusPreconditionFailed, "SourceConditionNotMet", "The source condition specified using HTTP conditional header(s) is not met.")
		}
		s, _, err := parseRange(asked, i.size)
		return s, err
	})
	if err != nil {
		return nil, nil, sourceError(err)
	}
	content = &body{Reader: rc, Closer: rc, header: http.Header{}}
	if sum := r.Header.Get("x-ms-source-content-md5"); sum != "" {
		if err := checkMD5Header("x-ms-source-content-md5", sum); err != nil {
			rc.Close()
			return nil, nil, err
		}
		content.expectMD5(sum)
	} else if asked == "" && i.md5 != "" && !i.claimed {
		content.expectMD5(i.md5) // what is damaged is not copied
	}
	return i, content, nil
}

// sourceRequest is the request by which a client would read a source.
func (f *Front) sourceRequest(r *request) (*request, error) {
	value := r.Header.Get(copySource)
	invalid := func(why string) error {
		return errorf(http.StatusBadRequest, "InvalidHeaderValue", "%s %.300q %s", copySource, withoutQuery(value), why)
	}
	if r.ContentLength > 0 {
		return nil, errorf(http.StatusBadRequest, "InvalidHeaderValue", "Content-Length %d: a request with %s has no body.", r.ContentLength, copySource)
	}
	u, err := url.Parse(value)
	if err != nil || u.Host == "" {
		return nil, invalid("is not the address of a blob.")
	}
	path := u.EscapedPath()
	if account, ok := accounts.FromHost(u.Host, f.cfg.StorageSuffix); ok {
		path = PathPrefix + account + path
	} else if own, err := url.Parse(f.cfg.PublicURL); err != nil || !strings.EqualFold(own.Host, u.Host) {
		return nil, errorf(http.StatusForbidden, "CannotVerifyCopySource", "%s %.300q is not a blob of this server; read it and send it.", copySource, withoutQuery(value))
	}
	name, err := parsePath(path)
	if err != nil || name.name == "" {
		return nil, invalid("is not the address of a blob.")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, invalid("has a query that is not correctly encoded.")
	}
	inner := (&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}, TLS: r.TLS}).WithContext(r.Context())
	for _, h := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		if v := r.Header.Get("x-ms-source-" + h); v != "" {
			inner.Header.Set(h, v)
		}
	}
	for _, h := range []string{"x-ms-copy-source-authorization", "Authorization"} {
		if v := r.Header.Get(h); v != "" && inner.Header.Get("Authorization") == "" {
			inner.Header.Set("Authorization", v)
		}
	}
	return &request{Request: inner, w: discardAnswer{}, q: q, name: name}, nil
}

// discardAnswer takes the headers of an answer that nobody gets.
type discardAnswer struct{}

func (discardAnswer) Header() http.Header            { return http.Header{} }
func (discardAnswer) Write(data []byte) (int, error) { return len(data), nil }
func (discardAnswer) WriteHeader(int)                {}

// sourceError says that it is the source that cannot be read.
func sourceError(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	status := e.Status
	switch status {
	case http.StatusUnauthorized:
		status = http.StatusForbidden // the request itself is authenticated
	case http.StatusForbidden, http.StatusNotFound:
	default:
		return err
	}
	return &Error{Status: status, Code: "CannotVerifyCopySource", Message: "The source cannot be read: " + e.Message, Cause: e.Cause}
}

// copyBlob is Copy Blob, Copy Blob From URL and, with a type, Put Blob From URL. All are done when they are answered.
func (f *Front) copyBlob(r *request) error {
	kind := r.Header.Get("x-ms-blob-type")
	if kind != "" && kind != "BlockBlob" {
		return errorf(http.StatusBadRequest, "InvalidHeaderValue", "x-ms-blob-type %q: what is copied becomes a BlockBlob.", kind)
	}
	asked, err := f.writerOptions(r)
	if err != nil {
		return err
	}
	i, content, err := f.source(r, false)
	if err != nil {
		return err
	}
	defer content.Close()
	opts := copyOptions(r, i, asked, kind != "")
	opts.IfNotExist = strings.TrimSpace(r.Header.Get("If-None-Match")) == "*"
	id := uuid.NewString()
	if kind == "" {
		opts.Metadata[metaCopy] = id
	}
	made, err := f.writeBlock(r, opts, content, committedBlocks{}, nil)
	if err != nil {
		return err
	}
	if kind != "" {
		r.created(made, made.md5)
		return nil
	}
	h := r.w.Header()
	h.Set("x-ms-copy-id", id)
	h.Set("x-ms-copy-status", "success")
	r.answered(made, made.md5, http.StatusAccepted)
	return nil
}

// copyOptions are the properties of a copy: the source's, unless the request has others. A blob put from a URL takes no metadata along.
func copyOptions(r *request, i *info, asked *blob.WriterOptions, put bool) *blob.WriterOptions {
	opts := propertiesOf(i)
	if put {
		for _, p := range []struct {
			header   string
			to, from *string
		}{
			{"x-ms-blob-content-type", &opts.ContentType, &asked.ContentType},
			{"x-ms-blob-content-encoding", &opts.ContentEncoding, &asked.ContentEncoding},
			{"x-ms-blob-content-language", &opts.ContentLanguage, &asked.ContentLanguage},
			{"x-ms-blob-content-disposition", &opts.ContentDisposition, &asked.ContentDisposition},
			{"x-ms-blob-cache-control", &opts.CacheControl, &asked.CacheControl},
		} {
			if r.Header.Get(p.header) != "" {
				*p.to = *p.from
			}
		}
	}
	opts.Metadata = asked.Metadata
	delete(opts.Metadata, metaMD5)
	if i.md5 != "" && !i.claimed {
		opts.Metadata[metaMD5] = i.md5
	}
	for k := range opts.Metadata {
		put = put || strings.HasPrefix(k, userMeta)
	}
	if !put {
		for k, v := range userMetadata(i.attrs.Metadata) {
			opts.Metadata[userMeta+k] = v
		}
	}
	return opts
}

// propertiesOf are the content headers and all metadata of a blob, for one that is written in its place or beside it.
func propertiesOf(i *info) *blob.WriterOptions {
	a, metadata := i.attrs, make(map[string]string)
	maps.Copy(metadata, i.attrs.Metadata)
	return &blob.WriterOptions{ContentType: a.ContentType, ContentEncoding: a.ContentEncoding, ContentLanguage: a.ContentLanguage,
		ContentDisposition: a.ContentDisposition, CacheControl: a.CacheControl, Metadata: metadata}
}

// stageSource is Put Block From URL.
func (f *Front) stageSource(r *request, id []byte) error {
	i, content, err := f.source(r, true)
	if err != nil {
		return err
	}
	defer content.Close()
	if i.size == 0 {
		return errorf(http.StatusBadRequest, "InvalidHeaderValue", "%s %.300q is empty: a block has at least one byte.", copySource, withoutQuery(r.Header.Get(copySource)))
	}
	content.hashMD5()
	if err := f.stage(r, id, content); err != nil {
		return err
	}
	r.w.Header().Set("Content-MD5", content.sum())
	r.w.WriteHeader(http.StatusCreated)
	return nil
}

// copyHeaders tell where a copy came from, for clients that ask whether it is done.
func (i *info) copyHeaders(h http.Header) {
	if id := i.attrs.Metadata[metaCopy]; id != "" {
		h.Set("x-ms-copy-id", id)
		h.Set("x-ms-copy-status", "success")
		h.Set("x-ms-copy-progress", fmt.Sprintf("%d/%d", i.size, i.size))
		h.Set("x-ms-copy-completion-time", httpTime(i.created()))
	}
}
