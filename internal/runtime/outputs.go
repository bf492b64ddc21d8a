package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/runtime/blobclient"
)

// outputPaths prepares the outputs' folders and returns what each is called by: a path or, for Direct, the URL.
func outputPaths(ctx context.Context, cfg Config, mounts *mounter, outputs map[string]commonruntime.Output) (map[string]string, error) {
	values := make(map[string]string, len(outputs))
	for name, o := range outputs {
		if o.Mode == "Direct" {
			values[name] = o.URL
			continue
		}
		path, ok, err := mounts.output(ctx, name, o)
		if err != nil {
			return nil, fmt.Errorf("mounting output %q: %w", name, err)
		}
		if values[name] = path; ok {
			continue
		}
		dir := filepath.Join(cfg.outputsDir(), name)
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return nil, fmt.Errorf("making folder of output %q: %w", name, err)
		}
		values[name] = dir
		if o.Type == "uri_file" {
			values[name] = filepath.Join(dir, baseName(o.URL))
		}
	}
	return values, nil
}

// uploader sends what the command left behind.
type uploader struct {
	blobs *blobclient.Client
	log   *slog.Logger
	// leave says which files of a tree stay, by base name; nil means none.
	leave func(name string) bool
	// newest, if set, is asked before each file, and before a big one gets its name.
	newest *newest
	// mounts has the outputs that are stored as they are written.
	mounts *mounter
}

// outputs uploads every declared output, and stores what was changed of inputs; all are tried, and errors name them.
func (u uploader) outputs(ctx context.Context, spec commonruntime.JobSpec, paths map[string]string) error {
	var errs []error
	for name := range spec.Inputs {
		if _, err := u.mounts.flush(ctx, name); err != nil {
			errs = append(errs, fmt.Errorf("storing what was changed of input %q: %w", name, err))
		}
	}
	for name, o := range spec.Outputs {
		if o.Mode == "Direct" {
			continue
		}
		mounted, err := u.mounts.flush(ctx, name)
		if !mounted {
			err = u.output(ctx, o, paths[name])
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("uploading output %q: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func (u uploader) output(ctx context.Context, o commonruntime.Output, path string) error {
	if o.Type != "uri_file" {
		return u.tree(ctx, path, o.URL)
	}
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		u.log.Warn("the command wrote no file for an output", "path", path)
		return nil
	}
	if err != nil {
		return err
	}
	return u.file(ctx, path, o.URL, fi)
}

// tree uploads the files of a folder, those behind symbolic links too; a folder that does not exist has none.
func (u uploader) tree(ctx context.Context, dir, url string) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelFiles)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || u.leave != nil && u.leave(d.Name()) {
			return err
		}
		fi, err := os.Stat(p)
		if err != nil || !fi.Mode().IsRegular() {
			u.log.Warn("left out of the upload: not a regular file", "path", p)
			return nil
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		g.Go(func() error { return u.file(gctx, p, blobclient.Join(url, filepath.ToSlash(rel)), fi) })
		return gctx.Err()
	})
	if gerr := g.Wait(); gerr != nil {
		return gerr
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (u uploader) file(ctx context.Context, path, url string, fi fs.FileInfo) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	allowed := func(context.Context) error { return nil }
	if u.newest != nil {
		allowed = u.newest.check
	}
	if err := u.blobs.UploadIf(ctx, url, f, fi.Size(), allowed); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
