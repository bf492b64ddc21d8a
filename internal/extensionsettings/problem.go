package extensionsettings

import (
	"fmt"
	"strings"
)

// Problem is something wrong with one setting, in words for the user.
type Problem struct {
	Key       string
	Protected bool
	// Value is what is wrong; "" when that is not it, or when it is a secret.
	Value string
	// Why completes a sentence that begins with the setting and its value; "" where Fix says it all, as texts of the reference do.
	Why string
	// Fix says what to do.
	Fix string
	// Unknown is set where the key names no setting of this release.
	Unknown bool
	// Exclusive is set where two settings exclude each other.
	Exclusive bool
}

// Error is the whole text.
func (p Problem) Error() string {
	subject := p.Key
	if p.Value != "" {
		subject = fmt.Sprintf("%s=%q", p.Key, p.Value)
	}
	if p.Why == "" {
		return p.Fix
	}
	return subject + " " + p.Why + ". " + p.Fix
}

// Problems are all that is wrong with some settings, in the order of their keys.
type Problems []Problem

// Error has one line for each.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Err is nil when there are none.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}
