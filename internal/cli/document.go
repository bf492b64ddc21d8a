package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"fairlead.dev/fairlead/internal/cli/spec"
)

// document reads --file (or nothing), then lays --set and flags over it; empty flags change nothing.
func (a *app) document(file string, set []string, flags map[string]string) (*spec.Document, error) {
	var data []byte
	name := "command line"
	switch {
	case file == "-":
		var err error
		if data, err = io.ReadAll(io.LimitReader(a.deps.Stdin, spec.MaxSize+1)); err != nil {
			return nil, fmt.Errorf("reading standard input: %w", err)
		}
		name = "standard input"
	case file != "":
		var err error
		if data, err = os.ReadFile(file); err != nil {
			return nil, usagef("argument --file/-f: %v", err)
		}
		name = file
	}
	doc, err := spec.Parse(name, data)
	if err != nil {
		return nil, err
	}
	for _, s := range set {
		if s == "" {
			continue
		}
		if err := doc.Set(s); err != nil {
			return nil, usagef("%v", err)
		}
	}
	for k, v := range flags {
		if v != "" {
			doc.SetString(k, v)
		}
	}
	return doc, nil
}

// specError makes a usage error of missing values when no file was given.
func specError(file string, err error) error {
	var problems spec.Problems
	if file == "" && errors.As(err, &problems) {
		return usagef("%v", err)
	}
	return err
}

// baseDir is the folder that local paths of a file are relative to.
func baseDir(file string) string {
	if file == "" || file == "-" {
		return "."
	}
	return filepath.Dir(file)
}

// localPath resolves a local path of a file.
func localPath(file, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(baseDir(file), path)
}
