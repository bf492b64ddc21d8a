package image

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// tarLayer is a layer that is an uncompressed tar file on disk. Images stay on this machine, so compressing them would
// only cost time.
type tarLayer struct {
	file string
	hash v1.Hash
	size int64
}

func newTarLayer(file string) (*tarLayer, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	hash, size, err := v1.SHA256(f)
	if err != nil {
		return nil, fmt.Errorf("hashing the layer: %w", err)
	}
	return &tarLayer{file: file, hash: hash, size: size}, nil
}

func (l *tarLayer) Digest() (v1.Hash, error)             { return l.hash, nil }
func (l *tarLayer) DiffID() (v1.Hash, error)             { return l.hash, nil }
func (l *tarLayer) Compressed() (io.ReadCloser, error)   { return os.Open(l.file) }
func (l *tarLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.file) }
func (l *tarLayer) Size() (int64, error)                 { return l.size, nil }
func (l *tarLayer) MediaType() (types.MediaType, error)  { return types.OCIUncompressedLayer, nil }

// writeArchive writes an OCI image layout of one image as a tar file.
func writeArchive(out, ref, layerFile string, config v1.Config) (Archive, error) {
	layer, err := newTarLayer(layerFile)
	if err != nil {
		return Archive{}, err
	}
	img, err := buildImage(layer, config)
	if err != nil {
		return Archive{}, fmt.Errorf("making the image: %w", err)
	}
	digest, err := img.Digest()
	if err != nil {
		return Archive{}, fmt.Errorf("hashing the image: %w", err)
	}
	if !strings.Contains(path.Base(ref), ":") {
		ref += ":" + digest.Hex[:tagLength]
	}
	index, err := indexOf(img, digest, ref)
	if err != nil {
		return Archive{}, err
	}
	f, err := os.Create(out)
	if err != nil {
		return Archive{}, err
	}
	defer f.Close()
	if err := writeLayout(f, img, layer, index); err != nil {
		return Archive{}, fmt.Errorf("writing the archive: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return Archive{}, err
	}
	return Archive{Ref: ref, Digest: digest.String(), Size: info.Size()}, f.Close()
}

// tagLength is how many hex digits of its digest a tag made of an image's content has.
const tagLength = 12

func buildImage(layer v1.Layer, config v1.Config) (v1.Image, error) {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.Append(base, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "fairlead", Created: v1.Time{Time: epoch}}})
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Architecture, file.OS, file.Config, file.Created = runtime.GOARCH, "linux", config, v1.Time{Time: epoch}
	return mutate.ConfigFile(img, file)
}

// indexOf is the layout's index.json, which names the image in the way containerd reads.
func indexOf(img v1.Image, digest v1.Hash, ref string) ([]byte, error) {
	size, err := img.Size()
	if err != nil {
		return nil, err
	}
	return json.Marshal(v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex,
		Manifests: []v1.Descriptor{{
			MediaType: types.OCIManifestSchema1, Digest: digest, Size: size,
			Platform:    &v1.Platform{OS: "linux", Architecture: runtime.GOARCH},
			Annotations: map[string]string{"io.containerd.image.name": ref, "org.opencontainers.image.ref.name": ref},
		}},
	})
}

func writeLayout(out io.Writer, img v1.Image, layer *tarLayer, index []byte) error {
	manifest, err := img.RawManifest()
	if err != nil {
		return err
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	w := tar.NewWriter(out)
	write := func(name string, size int64, from io.Reader) error {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: epoch, Format: tar.FormatPAX}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.Copy(w, from)
		return err
	}
	text := func(name string, data []byte) error { return write(name, int64(len(data)), bytes.NewReader(data)) }
	blob := func(data []byte) error {
		hash, _, err := v1.SHA256(bytes.NewReader(data))
		return errors.Join(err, text("blobs/sha256/"+hash.Hex, data))
	}
	content, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer content.Close()
	return errors.Join(
		text("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)), text("index.json", index), blob(manifest), blob(config),
		write("blobs/sha256/"+layer.hash.Hex, layer.size, content), w.Close())
}
