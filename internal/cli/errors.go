package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/cli/profile"
	"fairlead.dev/fairlead/internal/cli/spec"
	"fairlead.dev/fairlead/internal/client"
)

// Exit codes.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitInterrupted = 130
)

// usageError is a mistake on the command line (exit code 2).
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// hinted adds to an error what the user can do about it.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

func hint(err error, format string, args ...any) error {
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// exitError ends the program with a code after everything was said already.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// report tells the user what went wrong and maps it to an exit code: the one place where that is done.
func report(ctx context.Context, d Deps, cmd *cobra.Command, err error) int {
	var silent *exitError
	var usage *usageError
	var refused *arm.Error
	switch {
	case err == nil:
		return 0
	case errors.As(err, &silent):
		return silent.code
	case ctx.Err() != nil:
		fmt.Fprintln(d.Stderr, "Interrupted.")
		return exitInterrupted
	case errors.As(err, &usage):
		fmt.Fprintf(d.Stderr, "%s: error: %s\n", cmd.CommandPath(), usage.text)
		showHint(d, err)
		return exitUsage
	}
	fmt.Fprintf(d.Stderr, "%s %s\n", paintError(d, "ERROR:"), message(err))
	showHint(d, err)
	if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return exitNotFound
	}
	return exitFailed
}

// message is "(Code) text" for an error of the control plane, with its details below it.
func message(err error) string {
	var refused *arm.Error
	if !errors.As(err, &refused) {
		return err.Error()
	}
	var b strings.Builder
	if outer := strings.TrimSuffix(err.Error(), refused.Error()); outer != err.Error() {
		b.WriteString(outer)
	}
	fmt.Fprintf(&b, "(%s) %s", refused.Code, refused.Message)
	if refused.Target != "" && !strings.Contains(refused.Message, refused.Target) {
		fmt.Fprintf(&b, "\nTarget: %s", refused.Target)
	}
	for _, d := range refused.Details {
		fmt.Fprintf(&b, "\n  (%s) %s", d.Code, d.Message)
	}
	return b.String()
}

func showHint(d Deps, err error) {
	if h := hintFor(err); h != "" {
		fmt.Fprintln(d.Stderr, h)
	}
}

func hintFor(err error) string {
	var h *hinted
	var refused *arm.Error
	var problems spec.Problems
	switch {
	case errors.As(err, &h):
		return h.hint
	case errors.Is(err, profile.ErrLoggedOut):
		return "Run 'fairlead login', or 'fairlead up' for a control plane on this machine."
	case errors.Is(err, client.ErrUnreachable):
		return "Is the control plane running? 'fairlead status' looks at a local one; 'fairlead account show' says which one is used."
	case errors.As(err, &problems):
		return "Nothing was submitted."
	case !errors.As(err, &refused):
		return ""
	}
	switch {
	case refused.Status == http.StatusUnauthorized || refused.Code == "invalid_client":
		return "The login was refused; run 'fairlead login' again."
	case refused.Status == http.StatusForbidden:
		return "Ask an owner of the resource or of its group for a role assignment."
	case strings.EqualFold(refused.Code, "ResourceGroupNotFound"):
		return "Create it with 'fairlead group create --name <name> --location <location>'."
	}
	return ""
}

func paintError(d Deps, s string) string {
	if d.StderrTTY && d.Env("NO_COLOR") == "" {
		return "\x1b[91m" + s + "\x1b[0m"
	}
	return s
}

func warn(d Deps, format string, args ...any) {
	w := "WARNING:"
	if d.StderrTTY && d.Env("NO_COLOR") == "" {
		w = "\x1b[33m" + w + "\x1b[0m"
	}
	fmt.Fprintf(d.Stderr, "%s %s\n", w, fmt.Sprintf(format, args...))
}

// warn writes a warning unless --only-show-errors was given.
func (a *app) warn(format string, args ...any) {
	if !a.onlyShowErrors {
		warn(a.deps, format, args...)
	}
}

// note writes a line about progress, unless --only-show-errors was given.
func (a *app) note(format string, args ...any) {
	if !a.onlyShowErrors {
		fmt.Fprintf(a.deps.Stderr, format+"\n", args...)
	}
}
