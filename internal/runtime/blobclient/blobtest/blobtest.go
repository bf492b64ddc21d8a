// Package blobtest is a small blob front in memory for tests, with faults on request.
package blobtest

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Token is the bearer token the server asks for.
const Token = "the-run-token"

// Server is a running blob front.
type Server struct {
	// Base is the URL of the blob front.
	Base string
	srv  *httptest.Server

	mu       sync.Mutex
	blobs    map[string]*blob
	staged   map[string][]byte
	fault    func(*http.Request) Fault
	requests int
	// PageSize is how many names one page of a listing has.
	PageSize int
}

type blob struct {
	content  []byte
	isAppend bool
	noMD5    bool
}

// Fault is what goes wrong with one request.
type Fault struct {
	// Status answers at once with this status, if not 0.
	Status int
	Header map[string]string
	// Lose handles the request and then drops the connection instead of answering.
	Lose bool
}

// New starts a server that ends with the test.
func New(t testing.TB) *Server {
	s := &Server{blobs: map[string]*blob{}, staged: map[string][]byte{}, PageSize: 2}
	s.srv = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.srv.Close)
	s.Base = s.srv.URL + "/blob"
	return s
}

// Client is an HTTP client for the server.
func (s *Server) Client() *http.Client { return s.srv.Client() }

// SetFault makes fn decide about every request from now on; nil ends it.
func (s *Server) SetFault(fn func(*http.Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fn
}

// Put stores a block blob; name is account/container/name.
func (s *Server) Put(name, content string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[name] = &blob{content: []byte(content)}
}

// PutRaw stores a block blob for which no MD5 is kept.
func (s *Server) PutRaw(name string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[name] = &blob{content: content, noMD5: true}
}

// Get returns a blob's content.
func (s *Server) Get(name string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.blobs[name]
	if !ok {
		return "", false
	}
	return string(b.content), true
}

// Names lists all blobs with a prefix.
func (s *Server) Names(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, n := range slices.Sorted(maps.Keys(s.blobs)) {
		if strings.HasPrefix(n, prefix) {
			out = append(out, strings.TrimPrefix(n, prefix))
		}
	}
	return out
}

// Requests is how many requests came so far.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	var f Fault
	if s.fault != nil {
		f = s.fault(r)
	}
	if f.Status != 0 {
		for k, v := range f.Header {
			w.Header().Set(k, v)
		}
		w.WriteHeader(f.Status)
		return
	}
	if f.Lose {
		s.handle(httptest.NewRecorder(), r, body)
		panic(http.ErrAbortHandler)
	}
	s.handle(w, r, body)
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request, body []byte) {
	if r.Header.Get("Authorization") != "Bearer "+Token {
		fail(w, http.StatusForbidden, "AuthenticationFailed")
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/blob/")
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodPut && q.Get("comp") == "appendblock":
		s.appendBlock(w, r, name, body)
	case r.Method == http.MethodPut && q.Get("comp") == "block":
		s.staged[name+"|"+q.Get("blockid")] = body
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodPut && q.Get("comp") == "blocklist":
		s.commit(w, name, body)
	case r.Method == http.MethodPut:
		s.put(w, r, name, body)
	case r.Method == http.MethodDelete:
		if s.blobs[name] == nil {
			fail(w, http.StatusNotFound, "BlobNotFound")
			return
		}
		delete(s.blobs, name)
		w.WriteHeader(http.StatusAccepted)
	case q.Get("comp") == "list":
		s.list(w, name, q)
	default:
		s.get(w, r, name)
	}
}

func (s *Server) put(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	if _, ok := s.blobs[name]; ok && r.Header.Get("If-None-Match") == "*" {
		fail(w, http.StatusConflict, "BlobAlreadyExists")
		return
	}
	if want := r.Header.Get("Content-MD5"); want != "" && want != sum(body) {
		fail(w, http.StatusBadRequest, "Md5Mismatch")
		return
	}
	s.blobs[name] = &blob{content: body, isAppend: r.Header.Get("x-ms-blob-type") == "AppendBlob"}
	w.WriteHeader(http.StatusCreated)
}

func (s *Server) appendBlock(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	b := s.blobs[name]
	if b == nil || !b.isAppend {
		fail(w, http.StatusNotFound, "BlobNotFound")
		return
	}
	if r.Header.Get("x-ms-blob-condition-appendpos") != strconv.Itoa(len(b.content)) {
		fail(w, http.StatusPreconditionFailed, "AppendPositionConditionNotMet")
		return
	}
	b.content = append(b.content, body...)
	w.WriteHeader(http.StatusCreated)
}

func (s *Server) commit(w http.ResponseWriter, name string, body []byte) {
	var doc struct{ Latest []string }
	if xml.Unmarshal(body, &doc) != nil {
		fail(w, http.StatusBadRequest, "InvalidXmlDocument")
		return
	}
	var all []byte
	for _, id := range doc.Latest {
		all = append(all, s.staged[name+"|"+id]...)
	}
	s.blobs[name] = &blob{content: all, noMD5: true}
	w.WriteHeader(http.StatusCreated)
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, name string) {
	b := s.blobs[name]
	if b == nil {
		fail(w, http.StatusNotFound, "BlobNotFound")
		return
	}
	if want := r.Header.Get("If-Match"); want != "" && want != fmt.Sprintf("\"%x\"", md5.Sum(b.content)) {
		fail(w, http.StatusPreconditionFailed, "ConditionNotMet")
		return
	}
	w.Header().Set("x-ms-blob-type", map[bool]string{true: "AppendBlob", false: "BlockBlob"}[b.isAppend])
	md := "Content-MD5"
	content, status := b.content, http.StatusOK
	if rg := r.Header.Get("x-ms-range"); rg != "" {
		var from, to int
		_, _ = fmt.Sscanf(rg, "bytes=%d-%d", &from, &to)
		content, status, md = content[from:min(to+1, len(content))], http.StatusPartialContent, "x-ms-blob-content-md5"
	}
	if !b.noMD5 {
		w.Header().Set(md, sum(b.content))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		_, _ = w.Write(content)
	}
}

func (s *Server) list(w http.ResponseWriter, container string, q url.Values) {
	names := []string{}
	for _, n := range slices.Sorted(maps.Keys(s.blobs)) {
		rel := strings.TrimPrefix(n, container+"/")
		if rel != n && strings.HasPrefix(rel, q.Get("prefix")) && rel > q.Get("marker") {
			names = append(names, rel)
		}
	}
	next := ""
	if len(names) > s.PageSize {
		names, next = names[:s.PageSize], names[s.PageSize-1]
	}
	_, _ = fmt.Fprint(w, `<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs>`)
	for _, n := range names {
		b := s.blobs[container+"/"+n]
		_, _ = fmt.Fprint(w, "<Blob><Name>")
		_ = xml.EscapeText(w, []byte(n))
		_, _ = fmt.Fprintf(w, "</Name><Properties><Content-Length>%d</Content-Length><Etag>%x</Etag>", len(b.content), md5.Sum(b.content))
		if !b.noMD5 {
			_, _ = fmt.Fprintf(w, "<Content-MD5>%s</Content-MD5>", sum(b.content))
		}
		_, _ = fmt.Fprint(w, "</Properties></Blob>")
	}
	_, _ = fmt.Fprint(w, "</Blobs><NextMarker>")
	_ = xml.EscapeText(w, []byte(next))
	_, _ = fmt.Fprint(w, "</NextMarker></EnumerationResults>")
}

func sum(b []byte) string {
	s := md5.Sum(b)
	return base64.StdEncoding.EncodeToString(s[:])
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("x-ms-error-code", code)
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>said %s</Message></Error>", code, code)
}
