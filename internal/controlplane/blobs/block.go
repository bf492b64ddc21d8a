package blobs

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/google/uuid"
	"gocloud.dev/blob"
)

// Limits of block lists.
const (
	maxBlocks        = 50_000
	maxBlockListBody = 8 << 20
)

// block is one block of a block blob. ID is decoded.
type block struct {
	ID     []byte `json:"id"`
	Size   int64  `json:"size"`
	offset int64  // in the committed blob
}

// committedBlocks is what is kept of a committed list; Nonce ties it to the blob it describes.
type committedBlocks struct {
	Nonce  string  `json:"nonce"`
	Blocks []block `json:"blocks"`
	// MD5 is the content's, where the blob's own metadata could not tell it.
	MD5 string `json:"md5,omitempty"`
}

func parseBlockID(s string) ([]byte, error) {
	id, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(id) == 0 || len(id) > 64 {
		return nil, errorf(http.StatusBadRequest, "InvalidQueryParameterValue", "The block id %.100q is not the base64 of 1 to 64 bytes.", s)
	}
	return id, nil
}

func (n blobName) stagedKey(id []byte) string { return n.stagedRoot() + hex.EncodeToString(id) }

func (f *Front) putBlock(r *request) error {
	id, err := parseBlockID(r.q.Get("blockid"))
	if err != nil {
		return err
	}
	if r.Header.Get(copySource) != "" {
		return f.stageSource(r, id)
	}
	b, err := requestBody(r, maxPutBlob)
	if err != nil {
		return err
	}
	if r.ContentLength == 0 {
		return errorf(http.StatusBadRequest, "InvalidHeaderValue", "Content-Length 0: a block has at least one byte.")
	}
	if err := f.stage(r, id, b); err != nil {
		return err
	}
	b.confirm(r.w.Header())
	r.w.Header().Set("x-ms-request-server-encrypted", "false")
	r.w.WriteHeader(http.StatusCreated)
	return nil
}

// stage keeps a block until a list names it.
func (f *Front) stage(r *request, id []byte, content *body) error {
	opts := &blob.WriterOptions{ContentType: "application/octet-stream"}
	return f.upload(r.Context(), r.name.stagedKey(id), opts, content, func(finish func() error) error {
		if err := content.check(); err != nil {
			return err
		}
		return finish()
	})
}

// blockRef is one entry of a Put Block List.
type blockRef struct {
	from string // Committed, Uncommitted or Latest
	id   []byte
}

func parseBlockList(body io.Reader) ([]blockRef, error) {
	invalid := func(format string, args ...any) error {
		return errorf(http.StatusBadRequest, "InvalidXmlDocument", "The block list is not valid: "+format, args...)
	}
	d := xml.NewDecoder(io.LimitReader(body, maxBlockListBody+1))
	var refs []blockRef
	for depth := 0; ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) && depth == 0 {
			return refs, nil
		}
		if err != nil {
			return nil, invalid("%v", err)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			if depth++; depth == 1 {
				if t.Name.Local != "BlockList" {
					return nil, invalid("root element is %q, not BlockList", t.Name.Local)
				}
				continue
			}
			switch t.Name.Local {
			case "Committed", "Uncommitted", "Latest":
			default:
				return nil, invalid("element %q is not Committed, Uncommitted or Latest", t.Name.Local)
			}
			var text string
			if err := d.DecodeElement(&text, &t); err != nil {
				return nil, invalid("%v", err)
			}
			depth--
			id, err := parseBlockID(strings.TrimSpace(text))
			if err != nil {
				return nil, err
			}
			if refs = append(refs, blockRef{t.Name.Local, id}); len(refs) > maxBlocks {
				return nil, errorf(http.StatusBadRequest, "BlockCountExceedsLimit", "A block list has at most %d blocks.", maxBlocks)
			}
		case xml.EndElement:
			depth--
		case xml.Directive:
			return nil, invalid("a document type declaration is not allowed")
		}
	}
}

func (f *Front) putBlockList(r *request) error {
	b, err := requestBody(r, maxBlockListBody)
	if err != nil {
		return err
	}
	refs, err := parseBlockList(b)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, b); err != nil { // what follows the list is part of what its sum is of
		return err
	}
	if err := b.check(); err != nil {
		return err
	}
	opts, err := f.writerOptions(r)
	if err != nil {
		return err
	}
	old, err := f.mayReplace(r)
	if err != nil {
		return err
	}
	list, readers, over, err := f.resolveBlocks(r.Context(), r.name, old, refs)
	if err != nil {
		return err
	}
	list.Nonce = uuid.NewString()
	opts.IfNotExist = strings.TrimSpace(r.Header.Get("If-None-Match")) == "*"
	src := &lazyReader{open: readers}
	defer src.Close()
	content := &body{Reader: src}
	if sum := opts.Metadata[metaMD5]; sum != "" {
		content.expectMD5(sum)
	}
	i, err := f.writeBlock(r, opts, content, list, over)
	if err != nil {
		return err
	}
	f.dropStaged(r.Context(), r.name)
	r.created(i, "")
	return nil
}

// resolveBlocks finds every block of a new list: where to read it, and its size. over is old when the list has blocks of that.
func (f *Front) resolveBlocks(ctx context.Context, n blobName, old *info, refs []blockRef) (list committedBlocks, readers []func() (io.ReadCloser, error), over *info, err error) {
	staged, err := f.stagedBlocks(ctx, n)
	if err != nil {
		return list, nil, nil, err
	}
	stagedSize, committed := map[string]int64{}, map[string]block{}
	for _, s := range staged {
		stagedSize[string(s.ID)] = s.Size
	}
	was, err := f.loadCommitted(ctx, old)
	if err != nil {
		return list, nil, nil, err
	}
	for _, c := range was {
		committed[string(c.ID)] = c
	}
	for _, ref := range refs {
		size, isStaged := stagedSize[string(ref.id)]
		c, isCommitted := committed[string(ref.id)]
		switch {
		case isStaged && ref.from != "Committed":
			key := n.stagedKey(ref.id)
			readers = append(readers, func() (io.ReadCloser, error) { return f.cfg.Bucket.NewReader(ctx, key, nil) })
			list.Blocks = append(list.Blocks, block{ID: ref.id, Size: size})
		case isCommitted && ref.from != "Uncommitted":
			over = old
			readers = append(readers, func() (io.ReadCloser, error) { return f.open(ctx, old, span{c.offset, c.offset + c.Size}) })
			list.Blocks = append(list.Blocks, block{ID: ref.id, Size: c.Size})
		default:
			return list, nil, nil, errorf(http.StatusBadRequest, "InvalidBlockList", "The specified block list is invalid: there is no %s block %q of %s.",
				strings.ToLower(ref.from), base64.StdEncoding.EncodeToString(ref.id), n)
		}
	}
	return list, readers, over, nil
}

func (f *Front) stagedBlocks(ctx context.Context, n blobName) ([]block, error) {
	var out []block
	it := f.cfg.Bucket.List(&blob.ListOptions{Prefix: n.stagedRoot()})
	for {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("listing staged blocks of %s: %w", n, err)
		}
		if id, err := hex.DecodeString(path.Base(o.Key)); err == nil {
			out = append(out, block{ID: id, Size: o.Size})
		}
	}
}

func (f *Front) saveCommitted(ctx context.Context, n blobName, list committedBlocks) error {
	doc, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if err := f.write(ctx, n.committedKey(), doc, &blob.WriterOptions{ContentType: "application/json"}); err != nil {
		return fmt.Errorf("writing block list of %s: %w", n, err)
	}
	return nil
}

// loadCommitted is the committed blocks of a blob that was made by a block list, with their offsets.
func (f *Front) loadCommitted(ctx context.Context, i *info) ([]block, error) {
	list, err := f.readCommitted(ctx, i)
	var offset int64
	for k := range list.Blocks {
		list.Blocks[k].offset = offset
		offset += list.Blocks[k].Size
	}
	return list.Blocks, err
}

// readCommitted is what was kept with a block blob, if anything.
func (f *Front) readCommitted(ctx context.Context, i *info) (list committedBlocks, err error) {
	if i == nil || i.isAppend || i.attrs.Metadata[metaBlocks] == "" {
		return list, nil
	}
	doc, err := f.cfg.Bucket.ReadAll(ctx, i.name.committedKey())
	if isNotFound(err) {
		return list, nil
	}
	if err == nil {
		err = json.Unmarshal(doc, &list)
	}
	if err != nil {
		return list, fmt.Errorf("reading block list of %s: %w", i.name, err)
	}
	if list.Nonce != i.attrs.Metadata[metaBlocks] {
		return committedBlocks{}, nil // of a commit that did not happen
	}
	return list, nil
}

// dropStaged discards staged blocks after a commit; what fails is swept later.
func (f *Front) dropStaged(ctx context.Context, n blobName) {
	staged, err := f.stagedBlocks(ctx, n)
	for _, s := range staged {
		err = errors.Join(err, f.cfg.Bucket.Delete(ctx, n.stagedKey(s.ID)))
	}
	if err != nil {
		f.cfg.Log.Warn("discarding staged blocks", "blob", n.String(), "err", err)
	}
}

type xmlBlock struct {
	Name string `xml:"Name"`
	Size int64  `xml:"Size"`
}

type xmlBlockList struct {
	XMLName     xml.Name    `xml:"BlockList"`
	Committed   *[]xmlBlock `xml:"CommittedBlocks>Block"`
	Uncommitted *[]xmlBlock `xml:"UncommittedBlocks>Block"`
}

func (f *Front) getBlockList(r *request) error {
	which := r.q.Get("blocklisttype")
	if which == "" {
		which = "committed"
	}
	if which != "committed" && which != "uncommitted" && which != "all" {
		return errorf(http.StatusBadRequest, "InvalidQueryParameterValue", "blocklisttype=%q is not committed, uncommitted or all.", which)
	}
	i, err := f.statIfAny(r.Context(), r.name)
	if err != nil {
		return err
	}
	staged, err := f.stagedBlocks(r.Context(), r.name)
	if err != nil {
		return err
	}
	if i == nil && len(staged) == 0 {
		return errBlobNotFound(r.name)
	}
	committed, err := f.loadCommitted(r.Context(), i)
	if err != nil {
		return err
	}
	var out xmlBlockList
	if which != "uncommitted" {
		out.Committed = xmlBlocks(committed)
	}
	if which != "committed" {
		out.Uncommitted = xmlBlocks(staged)
	}
	if i != nil {
		r.w.Header().Set("ETag", i.etag)
		r.w.Header().Set("Last-Modified", httpTime(i.modTime))
		r.w.Header().Set("x-ms-blob-content-length", fmt.Sprint(i.size))
	}
	return r.xml(out)
}

func xmlBlocks(bs []block) *[]xmlBlock {
	out := make([]xmlBlock, len(bs))
	for i, b := range bs {
		out[i] = xmlBlock{base64.StdEncoding.EncodeToString(b.ID), b.Size}
	}
	return &out
}

func (r *request) xml(v any) error {
	body, err := xml.Marshal(v)
	if err != nil {
		return err
	}
	r.w.Header().Set("Content-Type", "application/xml")
	_, _ = r.w.Write(append([]byte(xml.Header), body...))
	return nil
}

// lazyReader reads several sources one after the other, each opened when its turn comes.
type lazyReader struct {
	open []func() (io.ReadCloser, error)
	cur  io.ReadCloser
}

func (l *lazyReader) Read(p []byte) (int, error) {
	for {
		if l.cur == nil {
			if len(l.open) == 0 {
				return 0, io.EOF
			}
			var err error
			if l.cur, err = l.open[0](); err != nil {
				return 0, err
			}
			l.open = l.open[1:]
		}
		n, err := l.cur.Read(p)
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		l.cur.Close()
		if l.cur = nil; n > 0 {
			return n, nil
		}
	}
}

// Close closes the source being read.
func (l *lazyReader) Close() error {
	if l.cur != nil {
		return l.cur.Close()
	}
	return nil
}
