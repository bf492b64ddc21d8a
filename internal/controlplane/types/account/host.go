package account

import (
	"net"
	"regexp"
	"strings"
)

// NameRule is what every account's name looks like.
var NameRule = regexp.MustCompile(`^[a-z0-9]{3,24}$`)

// hostMark stands between the account and the suffix in the host names that other clients build.
const hostMark = ".blob."

// FromHost is the account that a host, with or without a port, names: {account}.blob.{suffix}. Ports do not count: a proxy may
// listen on another one.
func FromHost(host, suffix string) (account string, ok bool) {
	suffix = hostOnly(suffix)
	account, ok = strings.CutSuffix(hostOnly(host), hostMark+suffix)
	return account, ok && suffix != "" && NameRule.MatchString(account)
}

// WildcardHost is the name that a certificate needs for every account's host.
func WildcardHost(suffix string) string { return "*" + hostMark + hostOnly(suffix) }

// hostOnly is a host name without its port, in lower case.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}
