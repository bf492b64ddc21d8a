// Package dataaddress is the form in which the control plane names a file or folder of a datastore whose bytes lie elsewhere:
//
//	https://<control plane>/datastores/<account>/<datastore>/<path>
//
// account is that of the datastore's workspace. Who asks there, with a right to it, is sent on to the bytes.
package dataaddress

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"fairlead.dev/fairlead/internal/controlplane/types/uri"
)

// Prefix is the path below which such addresses are.
const Prefix = "/datastores/"

// maxPath is the longest key of S3, in bytes.
const maxPath = 1024

var (
	accountRule   = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
	datastoreRule = regexp.MustCompile(`^[a-z0-9_]{1,255}$`)
)

// Address is a file or folder of a datastore. Datastore is in lower case; Path is not escaped, and "" for the whole datastore.
type Address struct{ Account, Datastore, Path string }

// Under is the address below a control plane's own.
func (a Address) Under(publicURL string) string {
	s := publicURL + Prefix + a.Account + "/" + strings.ToLower(a.Datastore)
	if a.Path != "" {
		s += "/" + Escape(a.Path)
	}
	return s
}

// Holds reports whether other is the file at this address, or below the folder at it.
func (a Address) Holds(other Address) bool {
	return a.Account == other.Account && a.Datastore == other.Datastore &&
		(a.Path == "" || a.Path == other.Path || strings.HasPrefix(other.Path, a.Path+"/"))
}

// Escape escapes each segment of a path and keeps the slashes.
func Escape(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// ParsePath reads the escaped path of an address.
func ParsePath(escaped string) (Address, error) {
	rest, ok := strings.CutPrefix(escaped, Prefix)
	if !ok {
		return Address{}, fmt.Errorf("the path %.200q does not begin with %s", escaped, Prefix)
	}
	account, rest, _ := strings.Cut(rest, "/")
	name, raw, _ := strings.Cut(rest, "/")
	path, err := url.PathUnescape(raw)
	if err != nil {
		return Address{}, fmt.Errorf("the path is not correctly percent-encoded: %w", err)
	}
	a := Address{Account: account, Datastore: strings.ToLower(name), Path: path}
	switch {
	case !accountRule.MatchString(a.Account):
		return Address{}, fmt.Errorf("the account name %.64q must be 3 to 24 lower-case letters and digits", a.Account)
	case !datastoreRule.MatchString(a.Datastore):
		return Address{}, fmt.Errorf("the datastore's name %.80q must be letters, digits and '_'", name)
	}
	return a, CheckPath(path)
}

// CheckPath refuses paths that could leave the folder they are relative to, and those that are no key.
func CheckPath(path string) error {
	if len(path) > maxPath {
		return fmt.Errorf("the path is %d bytes long; at most %d are allowed", len(path), maxPath)
	}
	if err := uri.CheckText(path); err != nil {
		return fmt.Errorf("the path %w", err)
	}
	return uri.CheckPath(path)
}

// Split takes an address apart; ok is false for one of another kind.
func Split(address string) (a Address, ok bool) {
	u, err := url.Parse(address)
	if err != nil {
		return Address{}, false
	}
	a, err = ParsePath(strings.TrimSuffix(u.EscapedPath(), "/"))
	return a, err == nil
}
