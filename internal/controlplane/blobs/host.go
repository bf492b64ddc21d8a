package blobs

import (
	"net/http"

	accounts "fairlead.dev/fairlead/internal/controlplane/types/account"
)

// ByHost serves accounts by host name too: https://{account}.blob.{suffix}/{container}/{name} goes on to next as what it names
// below PathPrefix. Other clients build such addresses by themselves, from the suffix that the cloud's metadata names.
func ByHost(suffix string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if account, ok := accounts.FromHost(r.Host, suffix); ok {
			r = r.Clone(r.Context())
			escaped := r.URL.EscapedPath()
			prefix := PathPrefix + account
			r.URL.Path, r.URL.RawPath = prefix+r.URL.Path, prefix+escaped
		}
		next.ServeHTTP(w, r)
	})
}
