package blobs

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	accounts "fairlead.dev/fairlead/internal/controlplane/types/account"
)

// Limits of names.
const (
	maxName    = 1024 // bytes of a blob name
	maxSegment = 200  // bytes of one of its path segments once encoded, below the 255 of file systems
)

var (
	containerRule = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`)
	doubleEncoded = regexp.MustCompile(`(?i)%(2f|5c|2e|00)`)
)

// blobName is a checked account, container and name; name is "" for the container itself.
type blobName struct{ account, container, name string }

// parsePath reads the escaped path of a request below /blob/. Clients may write the slashes of a name as %2F (the Go
// client does); a name that still holds an encoded slash, dot or NUL after that is refused.
func parsePath(escaped string) (blobName, error) {
	rest, ok := strings.CutPrefix(escaped, PathPrefix)
	if !ok {
		return blobName{}, errorf(http.StatusBadRequest, "InvalidUri", "The path %q does not begin with %s.", escaped, PathPrefix)
	}
	account, rest, _ := strings.Cut(rest, "/")
	container, rawName, _ := strings.Cut(rest, "/")
	name, err := url.PathUnescape(rawName)
	if err != nil {
		return blobName{}, errorf(http.StatusBadRequest, "InvalidUri", "The blob name is not correctly percent-encoded: %v.", err)
	}
	return checkName(account, container, name)
}

func checkName(account, container, name string) (blobName, error) {
	n := blobName{account, container, name}
	if !accounts.NameRule.MatchString(account) {
		return n, errorf(http.StatusBadRequest, "InvalidResourceName", "The account name %.64q must be 3 to 24 lower-case letters and digits.", account)
	}
	if !containerRule.MatchString(container) || len(container) > 63 {
		return n, errorf(http.StatusBadRequest, "InvalidResourceName",
			"The container name %.80q must be 3 to 63 lower-case letters, digits and single hyphens.", container)
	}
	if name == "" {
		return n, nil
	}
	return n, checkBlobName(name)
}

func checkBlobName(name string) error {
	bad := func(format string, args ...any) error {
		return errorf(http.StatusBadRequest, "InvalidResourceName", "The blob name "+format, args...)
	}
	if len(name) > maxName {
		return bad("is %d bytes long; at most %d are allowed.", len(name), maxName)
	}
	if !utf8.ValidString(name) {
		return bad("%q is not UTF-8.", name)
	}
	for _, r := range name {
		if r < 0x20 || r == 0x7f || r == '\\' || r == 0xfffe || r == 0xffff {
			return bad("%q has a character that is not allowed: %q.", name, r)
		}
	}
	if m := doubleEncoded.FindString(name); m != "" {
		return bad("%q holds an encoded %s after decoding; encode names once only.", name, m)
	}
	for _, s := range strings.Split(name, "/") {
		switch {
		case s == "" || s == "." || s == "..":
			return bad("%q has a path segment %q; segments may not be empty, \".\" or \"..\".", name, s)
		case len(encodeSegment(s)) > maxSegment:
			return bad("%q has a path segment of more than %d bytes.", name, maxSegment)
		}
	}
	return nil
}

// encodeSegment makes one path segment (or its beginning) safe for every bucket: '!' and '+' end files and folders, and no
// entry of a folder may be a prefix of another one (fileblob pages by walk order, which must be key order).
func encodeSegment(s string) string {
	var b strings.Builder
	var last byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case strings.IndexByte("!+% \"#$&'*:;<=>?@[]^`{|}~", c) >= 0, c == '_' && last == '_': // "__0x" means something to fileblob
			b.WriteString("%" + strings.ToUpper(hex.EncodeToString([]byte{c})))
		default:
			b.WriteByte(c)
		}
		last = c
	}
	return b.String()
}

// encodeName is a blob's name, or the beginning of one, without the leaf's ending.
func encodeName(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = encodeSegment(p)
	}
	return strings.Join(parts, "+/")
}

// decodeName undoes encodeName; ok is false for keys it did not make.
func decodeName(enc string) (string, bool) {
	parts := strings.Split(enc, "/")
	for i, p := range parts {
		if i < len(parts)-1 {
			var ok bool
			if p, ok = strings.CutSuffix(p, "+"); !ok {
				return "", false
			}
		}
		s, err := url.PathUnescape(p)
		if err != nil {
			return "", false
		}
		parts[i] = s
	}
	return strings.Join(parts, "/"), true
}

func (n blobName) root() string       { return "b/" + n.account + "/" + n.container + "/" }
func (n blobName) blockKey() string   { return n.root() + encodeName(n.name) + "!" }
func (n blobName) appendRoot() string { return n.blockKey() + "a/" }
func (n blobName) headKey() string    { return n.appendRoot() + "head" }

func (n blobName) hash() string {
	sum := sha256.Sum256([]byte(n.name))
	return hex.EncodeToString(sum[:16])
}
func (n blobName) stagedRoot() string {
	return "u/" + n.account + "/" + n.container + "/" + n.hash() + "/"
}
func (n blobName) committedKey() string { return "c/" + n.account + "/" + n.container + "/" + n.hash() }
func (n blobName) String() string       { return n.account + "/" + n.container + "/" + n.name }

// path is the name as a URL path below the public URL.
func (n blobName) path() string {
	parts := strings.Split(n.name, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	p := PathPrefix + n.account + "/" + n.container
	if n.name != "" {
		p += "/" + strings.Join(parts, "/")
	}
	return p
}
