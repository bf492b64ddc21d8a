package blobs

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	accounts "fairlead.dev/fairlead/internal/controlplane/types/account"
)

// Somebody with a token gets a user delegation key of an account, and signs addresses with it that grant others a part of what they may
// do. Nothing of it is kept: the key follows from its fields, which are in every signature's query, and ours.

// maxDelegation is how long a user delegation key lasts at most.
const maxDelegation = 7 * 24 * time.Hour

// versionRule is what versions of the protocol are.
var versionRule = regexp.MustCompile(`^\d{4}-\d\d-\d\d$`)

// keyFields are a user delegation key's, as a query has them.
var keyFields = []string{"skoid", "sktid", "skt", "ske", "sks", "skv"}

// unenforced are fields of a signature that limit it in ways that are not kept here.
var unenforced = []string{"saoid", "suoid", "skdutid", "sduoid", "sip", "snapshot", "ses", "srh", "srq"}

// overrides are fields of a signature that an answer's headers are set to.
var overrides = map[string]string{"rscc": "Cache-Control", "rscd": "Content-Disposition", "rsce": "Content-Encoding", "rscl": "Content-Language", "rsct": "Content-Type"}

type xmlKeyInfo struct {
	XMLName xml.Name `xml:"KeyInfo"`
	Start   string   `xml:"Start"`
	Expiry  string   `xml:"Expiry"`
}

type xmlDelegationKey struct {
	XMLName xml.Name `xml:"UserDelegationKey"`
	OID     string   `xml:"SignedOid"`
	TID     string   `xml:"SignedTid"`
	Start   string   `xml:"SignedStart"`
	Expiry  string   `xml:"SignedExpiry"`
	Service string   `xml:"SignedService"`
	Version string   `xml:"SignedVersion"`
	Value   string   `xml:"Value"`
}

// serveAccount serves what is asked of an account and not of a container.
func (f *Front) serveAccount(r *request) error {
	account := strings.Trim(strings.TrimPrefix(r.URL.EscapedPath(), PathPrefix), "/")
	if !accounts.NameRule.MatchString(account) {
		return errorf(http.StatusBadRequest, "InvalidUri", "The path %q is not that of an account.", r.URL.EscapedPath())
	}
	if r.Method != http.MethodPost || r.q.Get("comp") != "userdelegationkey" {
		return errorf(http.StatusBadRequest, "UnsupportedOperation", "%s with restype=service comp=%q is not an operation of this service.", r.Method, r.q.Get("comp"))
	}
	p, err := f.principal(r)
	if err != nil {
		return err
	}
	switch p.Kind {
	case "User", "ServicePrincipal":
	default: // a managed identity's token is good while there is the identity, which nobody asks at a signature
		return errorf(http.StatusForbidden, "AuthorizationPermissionMismatch", "A token of kind %s gets no user delegation key.", p.Kind)
	}
	if v := r.w.Header().Get("x-ms-version"); !versionRule.MatchString(v) {
		return errorf(http.StatusBadRequest, "InvalidHeaderValue", "x-ms-version %.40q is not a version of the protocol, such as %s.", v, protocolVersion)
	}
	if err := f.authorize(r, p, blobName{account: account}, false); err != nil {
		return err
	}
	key := xmlDelegationKey{OID: p.ID, TID: f.cfg.TenantID, Service: "b", Version: r.w.Header().Get("x-ms-version")}
	if key.Start, key.Expiry, err = f.delegationTimes(r.Body); err != nil {
		return err
	}
	key.Value = base64.StdEncoding.EncodeToString(f.delegationKey(account, key.OID, key.TID, key.Start, key.Expiry, key.Service, key.Version))
	return r.xml(key)
}

// delegationTimes reads how long a key is asked for.
func (f *Front) delegationTimes(body io.Reader) (start, expiry string, err error) {
	var info xmlKeyInfo
	if err := xml.NewDecoder(io.LimitReader(body, 64<<10)).Decode(&info); err != nil {
		return "", "", errorf(http.StatusBadRequest, "InvalidXmlDocument", "The key info is not valid: %v.", err)
	}
	now := f.cfg.Clock().UTC()
	from, to := now, time.Time{}
	if info.Start != "" {
		if from, err = parseSASTime(info.Start); err != nil {
			return "", "", errorf(http.StatusBadRequest, "InvalidXmlNodeValue", "Start %.40q is not a time like %s.", info.Start, sasTime)
		}
	}
	if to, err = parseSASTime(info.Expiry); err != nil {
		return "", "", errorf(http.StatusBadRequest, "InvalidXmlNodeValue", "Expiry %.40q is not a time like %s.", info.Expiry, sasTime)
	}
	if !to.After(now) || !to.After(from) || to.After(now.Add(maxDelegation+time.Minute)) {
		return "", "", errorf(http.StatusBadRequest, "InvalidXmlNodeValue", "Expiry %.40q is not after now and Start, and within 7 days from now.", info.Expiry)
	}
	return from.Format(sasTime), to.Format(sasTime), nil
}

// delegationKey is the key of these fields: account, then keyFields.
func (f *Front) delegationKey(fields ...string) []byte {
	return keyedSum(f.delegation, "user delegation key\n"+strings.Join(fields, "\n"))
}

// keyedSum is the HMAC-SHA256 of a text.
func keyedSum(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

// checkDelegated verifies a signature that was made with a user delegation key.
func (f *Front) checkDelegated(q url.Values, n blobName) error {
	for _, k := range unenforced {
		if q.Get(k) != "" {
			return sasRefused("Signed field %s=%.64q is not supported; make a signature without it.", k, q.Get(k))
		}
	}
	if q.Get("sv") < "2020-12-06" {
		return sasRefused("Signed version sv=%q is older than 2020-12-06; use a newer client.", q.Get("sv"))
	}
	fields := []string{n.account}
	for _, k := range keyFields {
		fields = append(fields, q.Get(k))
	}
	mac := hmac.New(sha256.New, f.delegationKey(fields...))
	for k, v := range delegatedFields(q, n) {
		if strings.Contains(v, "\n") {
			return sasRefused("A signed field has more than one line.")
		}
		if k > 0 {
			mac.Write([]byte{'\n'})
		}
		mac.Write([]byte(v))
	}
	if !hmac.Equal([]byte(base64.StdEncoding.EncodeToString(mac.Sum(nil))), []byte(q.Get("sig"))) {
		return sasRefused("Signature did not match: it was made for another account, container, name or set of fields, or with another user delegation key.")
	}
	return f.checkPeriod("key", q.Get("skt"), q.Get("ske"))
}

// delegatedFields are what such a signature is of, in order: versions of the protocol added some.
func delegatedFields(q url.Values, n blobName) (fields []string) {
	add := func(names ...string) {
		for _, k := range names {
			fields = append(fields, q.Get(k))
		}
	}
	add("sp", "st", "se")
	fields = append(fields, strings.TrimSuffix("/blob/"+n.account+"/"+n.container+"/"+n.name, "/"))
	add(keyFields...)
	add("saoid", "suoid", "scid")
	if q.Get("sv") >= "2025-07-05" {
		add("skdutid", "sduoid")
	}
	add("sip", "spr", "sv", "sr", "snapshot", "ses")
	if q.Get("sv") >= "2026-04-06" {
		add("srh", "srq")
	}
	add("rscc", "rscd", "rsce", "rscl", "rsct")
	return fields
}

// override sets the headers that a signature made with a user delegation key gives to an answer.
func (r *request) override(h http.Header) {
	if !r.sas || r.q.Get("skoid") == "" {
		return
	}
	for k, header := range overrides {
		if v := r.q.Get(k); v != "" {
			h.Set(header, v)
		}
	}
}
