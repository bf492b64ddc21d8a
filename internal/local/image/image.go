// Package image packs the images that the local cluster runs (OCI archives of built programs and of Debian packages),
// kept in the cache under a hash of what is in them, so that no registry is needed.
package image

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"fairlead.dev/fairlead/internal/local/cache"
)

// packVersion changes when the same inputs would give another image.
const packVersion = "3"

// Spec is an image: a name, programs or a root file system, and how it is started.
type Spec struct {
	// Ref is the full name with registry and tag; Kubernetes' short names stand for docker.io/…. Without a tag it gets one of
	// the image's digest.
	Ref string
	// Files maps absolute paths in the image to files of this machine, all executable.
	Files map[string]string
	// RootFS, if set, is a tar file that is the image's only layer; Files is not used then.
	RootFS string
	// Config is how containers of it are started.
	Config v1.Config
}

// Archive is a packed image.
type Archive struct {
	Ref    string `json:"ref"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"` // bytes of the archive
	File   string `json:"file,omitempty"`
}

// Pack returns the archive of a spec from the cache, making it first if needed; the bool says whether it was there.
func Pack(ctx context.Context, cacheDir string, s Spec) (Archive, bool, error) {
	key, err := s.key()
	if err != nil {
		return Archive{}, false, fmt.Errorf("packing image %s: %w", s.Ref, err)
	}
	dir, hit, err := cache.Ensure(ctx, cacheDir, kind(s.Ref), key, func(_ context.Context, tmp string) error { return s.pack(tmp) })
	if err != nil {
		return Archive{}, false, fmt.Errorf("packing image %s: %w", s.Ref, err)
	}
	if !hit {
		if err := cache.Trim(cacheDir, kind(s.Ref), 2); err != nil {
			return Archive{}, false, err
		}
	}
	a, err := load(dir)
	return a, hit, err
}

// kind is the cache's folder for an image name.
func kind(ref string) string {
	return "images/" + strings.NewReplacer("/", "_", ":", "_").Replace(ref)
}

func (s Spec) key() (string, error) {
	config, err := json.Marshal(s.Config)
	if err != nil {
		return "", err
	}
	k := cache.NewKey().Add("version", packVersion).Add("ref", s.Ref).Add("config", string(config)).Add("arch", runtime.GOARCH)
	for name, file := range s.Files {
		if err := k.AddFile(name, file); err != nil {
			return "", err
		}
	}
	if s.RootFS != "" {
		if err := k.AddFile("rootfs", s.RootFS); err != nil {
			return "", err
		}
	}
	if err := k.AddFile("ca", hostCAs()); hostCAs() != "" && err != nil {
		return "", err
	}
	return k.String(), nil
}

// pack writes image.tar and info.json into a folder.
func (s Spec) pack(dir string) error {
	layer := s.RootFS
	if layer == "" {
		layer = filepath.Join(dir, "layer.tar")
		if err := s.writeLayer(layer); err != nil {
			return err
		}
		defer os.Remove(layer)
	}
	return packLayer(dir, s.Ref, layer, s.Config)
}

func packLayer(dir, ref, layer string, config v1.Config) error {
	a, err := writeArchive(filepath.Join(dir, "image.tar"), ref, layer, config)
	if err != nil {
		return err
	}
	data, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "info.json"), data, 0o644)
}

func load(dir string) (Archive, error) {
	var a Archive
	data, err := os.ReadFile(filepath.Join(dir, "info.json"))
	if err != nil {
		return a, fmt.Errorf("reading a packed image: %w", err)
	}
	if err := json.Unmarshal(data, &a); err != nil {
		return a, fmt.Errorf("reading a packed image in %s: %w", dir, err)
	}
	a.File = filepath.Join(dir, "image.tar")
	return a, nil
}

// Epoch is the time of every file that is written here, so that the same content is the same image.
var epoch = time.Unix(1700000000, 0).UTC()

// writeLayer makes the layer of an image of programs: the programs, a user nonroot (65532), /tmp, and the machine's
// certificate authorities where it has them.
func (s Spec) writeLayer(file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	w := &layerWriter{tar: tar.NewWriter(f), dirs: map[string]bool{}}
	w.dir("/tmp", 0o1777)
	w.data("/etc/passwd", "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/tmp:/sbin/nologin\n")
	w.data("/etc/group", "root:x:0:\nnonroot:x:65532:\n")
	w.data("/etc/nsswitch.conf", "hosts: files dns\n")
	if ca := hostCAs(); ca != "" {
		w.file("/etc/ssl/certs/ca-certificates.crt", ca, 0o644)
	}
	names := make([]string, 0, len(s.Files))
	for n := range s.Files {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		w.file(n, s.Files[n], 0o755)
	}
	if w.err != nil {
		return w.err
	}
	return errors.Join(w.tar.Close(), f.Close())
}

func hostCAs() string {
	for _, p := range []string{"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"} {
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	return ""
}

// layerWriter writes entries that say nothing of this machine; the first error stays.
type layerWriter struct {
	tar  *tar.Writer
	dirs map[string]bool
	err  error
}

func (w *layerWriter) header(h tar.Header) {
	if w.err != nil {
		return
	}
	h.Name = strings.TrimPrefix(h.Name, "/")
	h.ModTime, h.Format = epoch, tar.FormatPAX
	w.err = w.tar.WriteHeader(&h)
}

func (w *layerWriter) dir(name string, mode int64) {
	if name == "/" || w.dirs[name] {
		return
	}
	w.dir(path.Dir(name), 0o755)
	w.dirs[name] = true
	w.header(tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode})
}

func (w *layerWriter) data(name, content string) {
	w.dir(path.Dir(name), 0o755)
	w.header(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))})
	if w.err == nil {
		_, w.err = io.WriteString(w.tar, content)
	}
}

func (w *layerWriter) file(name, from string, mode int64) {
	w.dir(path.Dir(name), 0o755)
	f, err := os.Open(from)
	if err != nil {
		w.err = errors.Join(w.err, err)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		w.err = errors.Join(w.err, err)
		return
	}
	w.header(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: info.Size()})
	if w.err == nil {
		_, w.err = io.Copy(w.tar, f)
	}
}
