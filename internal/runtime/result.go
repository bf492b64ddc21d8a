package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"fairlead.dev/fairlead/api/commonruntime"
)

// Codes of commonruntime.Result.
const (
	CodeDownloadFailed      = "CodeDownloadFailed"
	CodeInputDownloadFailed = "InputDownloadFailed"
	CodeCommandNotStarted   = "CommandNotStarted"
	CodeTimeout             = "Timeout"
	CodeCanceled            = "Canceled"
	CodeOutputUploadFailed  = "OutputUploadFailed"
	CodeAlreadyClaimed      = "AlreadyClaimed"
	CodeSuperseded          = "Superseded"
	CodeSpecInvalid         = "SpecInvalid"
	// CodeLogLost is of a command that succeeded, but whose log is not complete.
	CodeLogLost = "LogLost"
)

// Exit codes of the runtime itself, where the command's own is not to be told.
const (
	exitRuntime  = 125 // the runtime could not do its part
	exitTimeout  = 124
	exitCanceled = commonruntime.ExitCanceled
)

// failure is an error with the word and phase that a Result tells.
type failure struct {
	code string
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(code string, err error) error {
	if err == nil {
		return nil
	}
	return &failure{code: code, err: err}
}

// failed is the result of an error before or after the command.
func failed(phase string, err error) commonruntime.Result {
	r := commonruntime.Result{Phase: phase, ExitCode: exitRuntime, Message: err.Error()}
	var f *failure
	if errors.As(err, &f) {
		r.Code = f.code
	}
	if r.Code == CodeCanceled {
		r.ExitCode = exitCanceled
	}
	return r
}

// maxResult is what Kubernetes keeps of a termination message, in bytes.
const maxResult = 4096

// EncodeResult is the JSON of a result, with its message shortened until it fits the termination message.
func EncodeResult(r commonruntime.Result) []byte {
	r.Message = strings.ToValidUTF8(r.Message, "\uFFFD")
	for {
		b, err := json.Marshal(r)
		if err == nil && len(b) <= maxResult {
			return b
		}
		cut := max(0, min(len(r.Message)-64, maxResult))
		for cut > 0 && !utf8.RuneStart(r.Message[cut]) {
			cut--
		}
		r.Message = r.Message[:cut]
	}
}

func (c Config) writeResult(r commonruntime.Result) error {
	if c.ResultPath == "" {
		return nil
	}
	if err := os.WriteFile(c.ResultPath, EncodeResult(r), 0o644); err != nil {
		return fmt.Errorf("writing result: %w", err)
	}
	return nil
}

// tail is the last lines of a file, at most limit bytes, for the message of a failed command.
func tail(f io.ReaderAt, size, limit int64) string {
	off := max(0, size-limit)
	b := make([]byte, size-off)
	n, _ := f.ReadAt(b, off)
	s := string(b[:n])
	if off > 0 {
		if _, rest, ok := strings.Cut(s, "\n"); ok {
			s = rest
		}
	}
	return strings.TrimSpace(strings.ToValidUTF8(strings.Map(printable, s), ""))
}

func printable(r rune) rune {
	if r == '\n' || r == '\t' || r >= ' ' && r != utf8.RuneError && r != 0x7f {
		return r
	}
	return -1
}
