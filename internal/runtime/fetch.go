package runtime

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/runtime/blobclient"
)

// parallelFiles is how many files are fetched or sent at once.
const parallelFiles = 8

// fetcher brings code and inputs into the pod.
type fetcher struct {
	blobs *blobclient.Client
	cfg   Config
	// mounts, if set, is asked first.
	mounts *mounter
}

// code fetches the snapshot's folder into the working folder, which exists also when there is no code.
func (f fetcher) code(ctx context.Context, folder string) error {
	dir := f.cfg.codeDir()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("making working folder: %w", err)
	}
	if folder == "" {
		return nil
	}
	n, err := f.folder(ctx, folder, dir)
	if err == nil && n == 0 {
		err = fmt.Errorf("folder %s has no files", folder)
	}
	if err != nil {
		return fmt.Errorf("fetching code: %w", err)
	}
	return nil
}

// inputs fetches every input and returns what each is called by: a path, a literal or, for Direct, the URL.
func (f fetcher) inputs(ctx context.Context, in map[string]commonruntime.Input) (map[string]string, error) {
	values := make(map[string]string, len(in))
	for name, i := range in {
		v, err := f.input(ctx, name, i)
		if err != nil {
			return nil, fmt.Errorf("fetching input %q: %w", name, err)
		}
		values[name] = v
	}
	return values, nil
}

func (f fetcher) input(ctx context.Context, name string, in commonruntime.Input) (string, error) {
	if in.Type == "literal" {
		return in.Value, nil
	}
	if in.Mode == "Direct" {
		return in.URL, nil
	}
	if f.mounts != nil {
		if path, ok, err := f.mounts.input(ctx, name, in); ok || err != nil {
			return path, err
		}
	}
	dir := filepath.Join(f.cfg.inputsDir(), name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", fmt.Errorf("making input folder: %w", err)
	}
	if in.Type == "uri_file" || !f.blobs.Owns(in.URL) {
		if in.Type == "uri_folder" || in.Type == "mltable" {
			return "", fmt.Errorf("%s is a %s outside the workspace's storage; only single files (uri_file) can be read by URL", in.URL, in.Type)
		}
		p := filepath.Join(dir, baseName(in.URL))
		return p, f.file(ctx, in.URL, p, -1, nil, "")
	}
	n, err := f.folder(ctx, in.URL, dir)
	if err != nil || n > 0 {
		return dir, err
	}
	if in.Type == "uri_folder" {
		return "", fmt.Errorf("folder %s has no files", in.URL)
	}
	p := filepath.Join(dir, baseName(in.URL)) // a model may be one file
	return p, f.file(ctx, in.URL, p, -1, nil, "")
}

// folder fetches every blob below a folder's URL and returns how many there were.
func (f fetcher) folder(ctx context.Context, url, dir string) (int, error) {
	n := 0
	g, gctx := f.group(ctx)
	err := f.blobs.List(gctx, url, func(b blobclient.Blob) error {
		if strings.HasSuffix(b.Name, "/") { // a folder marker
			return nil
		}
		local, err := localName(b.Name)
		if err != nil {
			return err
		}
		n++
		g.Go(func() error { return f.file(gctx, b.URL, filepath.Join(dir, local), b.Size, b.MD5, b.Mode) })
		return nil
	})
	if gerr := g.Wait(); gerr != nil { // a failed file also ends the listing, by gctx
		return n, gerr
	}
	return n, err
}

// group runs so many transfers of files at once.
func (f fetcher) group(ctx context.Context) (*errgroup.Group, context.Context) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelFiles)
	return g, gctx
}

// file fetches one URL to a path that no other file of the input has.
func (f fetcher) file(ctx context.Context, url, path string, size int64, sum []byte, mode string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return fmt.Errorf("making folder: %w", err)
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o666)
	if err != nil {
		return fmt.Errorf("making file: %w", err)
	}
	if f.blobs.Owns(url) {
		err = f.blobs.Download(ctx, url, out, size, sum)
	} else {
		err = f.blobs.Fetch(ctx, url, out)
	}
	if err == nil && (mode == "0755" || executable(out)) {
		err = out.Chmod(0o755)
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}

// executable tells scripts and programs by their first bytes, because blobs keep no file mode.
func executable(f *os.File) bool {
	var head [4]byte
	n, _ := f.ReadAt(head[:], 0)
	return bytes.HasPrefix(head[:n], []byte("#!")) || bytes.Equal(head[:n], []byte("\x7fELF"))
}
