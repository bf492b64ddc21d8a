package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// LogNames are the components that have a log.
func LogNames(f Folder) ([]string, error) {
	entries, err := os.ReadDir(f.Path("logs"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s; start one with `fairlead up`", ErrNone, f)
	}
	if err != nil {
		return nil, fmt.Errorf("listing logs: %w", err)
	}
	var out []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".log"); ok {
			out = append(out, name)
		}
	}
	return out, nil
}

// Logs writes the last lines of a component's log, and with follow what comes after until ctx ends. The component of
// node 0 may be named without its "@0".
func Logs(ctx context.Context, f Folder, component string, lines int, follow bool, out io.Writer) error {
	names, err := LogNames(f)
	if err != nil {
		return err
	}
	if !slices.Contains(names, component) {
		if !slices.Contains(names, component+"@0") {
			return fmt.Errorf("component %q has no log; there are: %s", component, strings.Join(names, ", "))
		}
		component += "@0"
	}
	path := f.Log(component)
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("reading a log: %w", err)
	}
	if text := tail(path, lines); text != "" {
		if _, err := fmt.Fprintln(out, text); err != nil {
			return err
		}
	}
	if !follow {
		return nil
	}
	return followFile(ctx, path, info.Size(), out)
}

// followFile writes what is added to a file. A file that was cut is read from its start.
func followFile(ctx context.Context, path string, from int64, out io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("following a log: %w", err)
	}
	defer f.Close()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		if info.Size() < from {
			from = 0
		}
		n, err := io.Copy(out, io.NewSectionReader(f, from, info.Size()-from))
		if err != nil {
			return err
		}
		from += n
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
