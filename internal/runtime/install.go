package runtime

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Install copies the program at src to dst, executable for all, so that the file is never seen half written.
func Install(src, dst string) error {
	in, err := os.Open(src)
	if err != nil {
		return fmt.Errorf("opening runtime: %w", err)
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
		return fmt.Errorf("making folder: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(dst), ".install-*")
	if err != nil {
		return fmt.Errorf("making file: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = io.Copy(tmp, in)
	if err == nil {
		err = tmp.Chmod(0o755)
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("copying runtime: %w", err)
	}
	if err := os.Rename(tmp.Name(), dst); err != nil {
		return fmt.Errorf("moving runtime into place: %w", err)
	}
	return nil
}
