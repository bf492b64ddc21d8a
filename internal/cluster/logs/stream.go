package logs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/link"
)

// stream is the log of one container from its start to its end, in one or several files.
type stream struct {
	id link.LogStream
	// folder is that of its pod, base its file without the endings of rotated ones.
	folder, base string
	// asked: the control plane has said how far it is kept; unknown: Kubernetes does not know its pod; gone: its folder is.
	asked, unknown, gone bool
	// kept is up to where the control plane has it, at up to where it was read.
	kept, at link.LogCursor
	open     *source
	// rotated is when the open file was first seen to have been replaced. What the runtime was writing then may still come, so
	// it is read once more when settle has passed.
	rotated time.Time
	settle  time.Duration
}

func (s *stream) close() {
	if s.open != nil {
		s.open.close()
	}
	s.open, s.rotated = nil, time.Time{}
}

// goOn reads from another place on.
func (s *stream) goOn(at link.LogCursor) {
	if s.open != nil && s.open.id != at.File {
		s.close()
	}
	s.kept, s.at = at, at
}

// pending is how much was read and not confirmed.
func (s *stream) pending() int64 {
	if s.at.File != s.kept.File {
		return quiet
	}
	return s.at.Offset - s.kept.Offset
}

// read gives lines from up to limit bytes of the file it is at, and how many bytes those are. At the end of a file that is
// written no more it goes on to the next.
func (s *stream) read(limit int) ([]link.LogLine, int, error) {
	for {
		if s.open == nil {
			if err := s.next(); err != nil || s.open == nil {
				return nil, 0, err
			}
		}
		final := s.gone || s.open.gz != nil || !s.rotated.IsZero() && time.Since(s.rotated) >= s.settle
		data, ended, err := s.open.read(s.at.Offset, limit)
		if err != nil {
			s.close()
			return nil, 0, err
		}
		lines, used := joined(data, final && ended, s.open.began)
		s.at.Offset += int64(used)
		if used > 0 {
			return lines, used, nil
		}
		if !ended {
			return nil, 0, nil
		}
		if !final {
			if s.rotated.IsZero() && s.replaced() {
				s.rotated = time.Now()
			}
			return nil, 0, nil
		}
		last := s.at
		s.close()
		if err := s.next(); err != nil || s.open == nil || s.at == last {
			s.close()
			return nil, 0, err
		}
	}
}

// replaced says whether another file has taken the place of the open one. Until it is there, the runtime writes to the old one.
func (s *stream) replaced() bool {
	now, err := os.Stat(s.base)
	return err == nil && !os.SameFile(now, s.open.info)
}

// next opens the file that the stream is at or, if that is read or was deleted, the one after it.
func (s *stream) next() error {
	all, err := s.files()
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range all {
			if f != s.open {
				f.close()
			}
		}
	}()
	for i, f := range all {
		if s.at.File != "" && f.began.Before(stamp(s.at.File)) {
			continue
		}
		if f.id == s.at.File && i+1 < len(all) {
			if ended, err := f.endsAt(s.at.Offset); err != nil || ended {
				continue
			}
		}
		if f.id != s.at.File {
			s.at = link.LogCursor{File: f.id}
		}
		s.open = f
		return nil
	}
	return nil
}

func stamp(id string) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, id)
	return t
}

// files opens the stream's files that have a line, the oldest first.
func (s *stream) files() (out []*source, err error) {
	names, err := filepath.Glob(s.base + "*")
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", s.base, err)
	}
	for _, name := range names {
		if name != s.base && !strings.HasPrefix(name, s.base+".") || strings.HasSuffix(name, ".tmp") {
			continue
		}
		f, openErr := openSource(name)
		switch {
		case openErr == nil:
			out = append(out, f)
		case !errors.Is(openErr, fs.ErrNotExist) && !errors.Is(openErr, errEmpty):
			err = errors.Join(err, openErr)
		}
	}
	slices.SortFunc(out, func(a, b *source) int { return a.began.Compare(b.began) })
	// While the kubelet compresses a file it is there twice.
	return slices.CompactFunc(out, func(a, b *source) bool {
		if a.id == b.id {
			b.close()
		}
		return a.id == b.id
	}), err
}

// source is one open file.
type source struct {
	// id is the time of the first line as it is written, began the same as a time.
	id    string
	began time.Time
	file  *os.File
	info  fs.FileInfo
	gz    *gzip.Reader
	pos   int64 // of gz
}

// errEmpty: a file has no line yet.
var errEmpty = errors.New("no line yet")

func openSource(name string) (*source, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening a log: %w", err)
	}
	f := &source{file: file}
	if f.info, err = file.Stat(); err == nil && strings.HasSuffix(name, ".gz") {
		f.gz, err = gzip.NewReader(bufio.NewReader(file))
	}
	if err == nil {
		err = f.identify()
	}
	if err != nil {
		f.close()
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return f, nil
}

// identify reads the first line's time.
func (f *source) identify() error {
	data, _, err := f.read(0, 64)
	if err != nil {
		return err
	}
	head, _, found := bytes.Cut(data, []byte{' '})
	if !found {
		return errEmpty
	}
	f.id = string(head)
	if f.began, err = time.Parse(time.RFC3339Nano, f.id); err != nil {
		return fmt.Errorf("the first line does not begin with a time, as the container runtimes' format has it: %w", err)
	}
	return nil
}

// read gives up to limit bytes from an offset on, and whether the file ends there.
func (f *source) read(from int64, limit int) (data []byte, ended bool, err error) {
	if f.gz == nil {
		info, err := f.file.Stat()
		if err != nil || info.Size() <= from {
			return nil, true, err
		}
		data = make([]byte, min(int64(limit), info.Size()-from))
		n, err := f.file.ReadAt(data, from)
		if err == nil {
			return data, from+int64(n) == info.Size(), nil
		}
		return data[:n], true, ignoreEOF(err)
	}
	if err := f.seek(from); err != nil {
		return nil, true, ignoreEOF(err)
	}
	data = make([]byte, limit)
	n, err := io.ReadFull(f.gz, data)
	f.pos += int64(n)
	return data[:n], err != nil, ignoreEOF(err)
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// seek brings the compressed file's reader to an offset; at the end of the file it stays there.
func (f *source) seek(to int64) error {
	if to < f.pos {
		if _, err := f.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := f.gz.Reset(bufio.NewReader(f.file)); err != nil {
			return err
		}
		f.pos = 0
	}
	n, err := io.CopyN(io.Discard, f.gz, to-f.pos)
	f.pos += n
	return err
}

// endsAt says whether a file has nothing beyond an offset.
func (f *source) endsAt(offset int64) (bool, error) {
	data, ended, err := f.read(offset, 1)
	return len(data) == 0 && ended, err
}

func (f *source) close() { _ = f.file.Close() }
