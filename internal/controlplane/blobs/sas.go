package blobs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// sasVersion is the sv that signatures are made for.
const sasVersion = "2021-12-02"

const sasTime = "2006-01-02T15:04:05Z"

// signedFields are the query parameters that a signature covers, in order; the resource's path follows them.
var signedFields = []string{"sv", "sr", "sdd", "sp", "st", "se", "spr"}

// sign is the signature of the fields over one resource: a container, a folder in it (sr=d, sdd its depth) or a blob.
func (f *Front) sign(q url.Values, n blobName) string {
	m := hmac.New(sha256.New, f.cfg.SASKey)
	for _, k := range signedFields {
		m.Write([]byte(q.Get(k) + "\n"))
	}
	m.Write([]byte("/blob/" + n.account + "/" + n.container + "/" + n.name))
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// SAS returns a URL that grants perms (letters of "racwdl": read, append, create, write, delete, list) for ttl on a container,
// or on the blob or folder named prefix when it is not empty.
func (f *Front) SAS(account, container, prefix, perms string, ttl time.Duration) string {
	return f.sasURL(blobName{account, container, strings.Trim(prefix, "/")}, perms, ttl, false)
}

// BlobSAS is SAS for exactly one blob.
func (f *Front) BlobSAS(account, container, name, perms string, ttl time.Duration) string {
	return f.sasURL(blobName{account, container, name}, perms, ttl, true)
}

func (f *Front) sasURL(n blobName, perms string, ttl time.Duration, exact bool) string {
	now := f.cfg.Clock().UTC()
	q := url.Values{"sv": {sasVersion}, "sr": {"c"}, "sp": {perms}, "spr": {"https"},
		"st": {now.Add(-5 * time.Minute).Format(sasTime)}, "se": {now.Add(ttl).Format(sasTime)}}
	if !f.https {
		q.Set("spr", "https,http")
	}
	switch {
	case n.name != "" && exact:
		q.Set("sr", "b")
	case n.name != "":
		q.Set("sr", "d")
		q.Set("sdd", strconv.Itoa(strings.Count(n.name, "/")+1))
	}
	q.Set("sig", f.sign(q, n))
	return f.cfg.PublicURL + n.path() + "?" + q.Encode()
}

func sasRefused(format string, args ...any) *Error {
	e := errorf(http.StatusForbidden, "AuthenticationFailed", format, args...)
	e.Message = "Server failed to authenticate the request. " + e.Message
	return e
}

// checkSAS verifies a query's signature for a resource and returns the permissions it grants. For a list of a container
// name is the listed prefix, which a folder's signature must cover.
func (f *Front) checkSAS(q url.Values, n blobName, overTLS bool) (perms string, err error) {
	for k, v := range q {
		if len(v) > 1 {
			return "", sasRefused("Query parameter %q is given %d times.", k, len(v))
		}
	}
	resource := n
	switch sr := q.Get("sr"); sr {
	case "c":
		resource.name = ""
	case "b":
	case "d":
		depth, err := strconv.Atoi(q.Get("sdd"))
		parts := strings.Split(n.name, "/")
		if err != nil || depth < 1 || depth > len(parts) {
			return "", sasRefused("The shared access signature is for a folder of depth %q; %q is not in it.", q.Get("sdd"), n.name)
		}
		resource.name = strings.Join(parts[:depth], "/")
	default:
		return "", sasRefused("Signed resource sr=%q is not one of c, d, b.", sr)
	}
	if q.Get("skoid") != "" {
		if err := f.checkDelegated(q, resource); err != nil {
			return "", err
		}
	} else if want := f.sign(q, resource); !hmac.Equal([]byte(want), []byte(q.Get("sig"))) {
		return "", sasRefused("Signature did not match: it was made for another account, container, name or set of fields, or with another key. Account keys do not exist here: clients sign with a user delegation key.")
	}
	return q.Get("sp"), f.checkSASTime(q, overTLS)
}

func (f *Front) checkSASTime(q url.Values, overTLS bool) error {
	if err := f.checkPeriod("signature", q.Get("st"), q.Get("se")); err != nil {
		return err
	}
	if q.Get("spr") == "https" && !overTLS && !f.https {
		return sasRefused("Signed protocol spr=https does not permit plain http.")
	}
	return nil
}

// checkPeriod checks that it is now between two signed times; the first may be empty.
func (f *Front) checkPeriod(of, from, to string) error {
	now := f.cfg.Clock().UTC()
	end, err := parseSASTime(to)
	if err != nil {
		return sasRefused("Signed expiry of the %s, %.40q, is not a time like %s.", of, to, sasTime)
	}
	if !now.Before(end) {
		return sasRefused("Signature not valid in the specified time frame: its %s expired at %s and it is now %s; ask for a new one.",
			of, end.Format(sasTime), now.Format(sasTime))
	}
	if from == "" {
		return nil
	}
	start, err := parseSASTime(from)
	if err != nil {
		return sasRefused("Signed start of the %s, %.40q, is not a time like %s.", of, from, sasTime)
	}
	if now.Before(start) {
		return sasRefused("Signature not valid in the specified time frame: its %s starts at %s and it is now %s; compare the clocks.",
			of, from, now.Format(sasTime))
	}
	return nil
}

// parseSASTime reads the forms of a time that the protocol allows.
func parseSASTime(s string) (t time.Time, err error) {
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04Z", time.DateOnly} { // the first also takes fractions of seconds
		if t, err = time.Parse(form, s); err == nil {
			return t.UTC(), nil
		}
	}
	return t, err
}
