// Package snapshot lists the files of a local folder that belong to an upload, by .amlignore or .gitignore, and gives
// them a hash that depends on names and contents only.
package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sort"
)

// MaxFiles bounds a snapshot; a folder with more is most likely the wrong one.
const MaxFiles = 100_000

// File is one file of a snapshot. Rel is slash-separated and below the root.
type File struct {
	Rel, Path string
	Size      int64
}

// Snapshot is a hashed list of files, sorted by Rel. Root is the folder, or the file itself when Single.
type Snapshot struct {
	Root   string
	Files  []File
	Single bool
	// Hash is the SHA-256 in hex over every file's name and content.
	Hash string
	// Size is the sum of sizes in bytes.
	Size int64
}

// Take lists and hashes a file or a folder. .amlignore in the root wins over .gitignore files, which also count in
// subfolders; links to files are followed, a link that leads back to a folder above it is refused.
func Take(root string) (*Snapshot, error) {
	st, err := os.Stat(root)
	if err != nil {
		return nil, fmt.Errorf("reading %q: %w", root, err)
	}
	s := &Snapshot{Root: root}
	if st.Mode().IsRegular() {
		s.Single, s.Files = true, []File{{Rel: filepath.Base(root), Path: root, Size: st.Size()}}
	} else if st.IsDir() {
		w := walker{s: s, active: map[string]bool{}}
		if err := w.start(root); err != nil {
			return nil, err
		}
	} else {
		return nil, fmt.Errorf("reading %q: neither a file nor a folder", root)
	}
	if len(s.Files) == 0 {
		return nil, fmt.Errorf("folder %q: holds no file to upload (after its ignore rules)", root)
	}
	sort.Slice(s.Files, func(i, j int) bool { return s.Files[i].Rel < s.Files[j].Rel })
	return s, s.hash()
}

// layer is an ignore file with the folder it speaks of ("" for the root).
type layer struct {
	dir   string
	rules Rules
}

type walker struct {
	s *Snapshot
	// aml: an .amlignore rules alone.
	aml bool
	// active are the real paths of the folders being walked, to notice links that form a circle.
	active map[string]bool
}

func (w *walker) start(root string) error {
	rules, ok, err := loadRules(filepath.Join(root, ".amlignore"))
	if err != nil {
		return err
	}
	w.aml = ok
	return w.walk(root, "", []layer{{"", rules}})
}

func (w *walker) walk(dir, rel string, layers []layer) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("reading folder: %w", err)
	}
	if w.active[real] {
		return fmt.Errorf("link %q leads back to a folder above it; remove it or name it in .amlignore", rel)
	}
	w.active[real] = true
	defer delete(w.active, real)
	if !w.aml {
		rules, ok, err := loadRules(filepath.Join(dir, ".gitignore"))
		if err != nil {
			return err
		}
		if ok {
			layers = append(layers[:len(layers):len(layers)], layer{rel, rules})
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading folder: %w", err)
	}
	for _, e := range entries {
		if err := w.visit(filepath.Join(dir, e.Name()), path.Join(rel, e.Name()), e.Name(), layers); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) visit(full, rel, name string, layers []layer) error {
	if always[name] {
		return nil
	}
	st, err := os.Stat(full)
	if err != nil {
		if ignored(layers, rel, false) {
			return nil
		}
		return fmt.Errorf("reading %q: %w (a link to nothing? name it in .amlignore)", rel, err)
	}
	switch {
	case ignored(layers, rel, st.IsDir()):
		return nil
	case st.IsDir():
		return w.walk(full, rel, layers)
	case !st.Mode().IsRegular():
		return nil // sockets, pipes and devices have no content to upload
	case len(w.s.Files) >= MaxFiles:
		return fmt.Errorf("folder %q: more than %d files; name what is not needed in .amlignore", w.s.Root, MaxFiles)
	}
	w.s.Files = append(w.s.Files, File{Rel: rel, Path: full, Size: st.Size()})
	return nil
}

func ignored(layers []layer, rel string, dir bool) bool {
	for i := len(layers) - 1; i >= 0; i-- {
		sub := rel
		if layers[i].dir != "" {
			sub = rel[len(layers[i].dir)+1:]
		}
		if ig, ok := layers[i].rules.Match(sub, dir); ok {
			return ig
		}
	}
	return false
}

// hash fills in Hash and Size from what is read, so that they agree with each other.
func (s *Snapshot) hash() error {
	all := sha256.New()
	for i := range s.Files {
		f := &s.Files[i]
		sum, n, err := hashFile(f.Path)
		if err != nil {
			return fmt.Errorf("hashing %q: %w", f.Rel, err)
		}
		f.Size = n
		s.Size += n
		fmt.Fprintf(all, "%q %d %x\n", f.Rel, n, sum)
	}
	s.Hash = hex.EncodeToString(all.Sum(nil))
	return nil
}

func hashFile(name string) ([]byte, int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return h.Sum(nil), n, err
}
