package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/httptunnel"
	"fairlead.dev/fairlead/internal/runtime/identity"
)

// tunnelTimeout bounds how long the identity proxy may take until it has reached the control plane.
const tunnelTimeout = 20 * time.Second

// IdentityConfig is how the identity-sidecar in a pod of an online deployment gives tokens of its managed identity.
type IdentityConfig struct {
	Sidecar commonruntime.IdentitySidecar
	// Secret is what those who ask must send.
	Secret string
	// Dir has the deployment's own token, and the one by which the proxy knows the pod.
	Dir    string
	Stderr io.Writer
}

// IdentityFromEnvironment is the configuration in a pod.
func IdentityFromEnvironment() (IdentityConfig, error) {
	c := IdentityConfig{Secret: os.Getenv(commonruntime.IdentitySecretEnv), Dir: commonruntime.IdentityDir, Stderr: os.Stderr}
	var err error
	c.Sidecar, err = ParseIdentity([]byte(os.Getenv(commonruntime.IdentityEnv)))
	if err == nil && c.Secret == "" { // one that nobody knows would not be found out until somebody asks
		err = fmt.Errorf("%s is empty; it is what processes of the pod must send", commonruntime.IdentitySecretEnv)
	}
	return c, err
}

// ParseIdentity reads and checks whose tokens a pod gives.
func ParseIdentity(b []byte) (commonruntime.IdentitySidecar, error) {
	var s commonruntime.IdentitySidecar
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("reading %s: %w", commonruntime.IdentityEnv, err)
	}
	if !httpURL(s.Identity.TokenURL) {
		return s, fmt.Errorf("%s: identity.tokenUrl is %q; it must be an https URL", commonruntime.IdentityEnv, s.Identity.TokenURL)
	}
	if u, err := url.Parse(s.Proxy); err != nil || u.Scheme != "http" || u.Host == "" {
		return s, fmt.Errorf("%s: proxy is %q; it must be an http URL", commonruntime.IdentityEnv, s.Proxy)
	}
	if s.Identity.ClientID == "" {
		return s, fmt.Errorf("%s: identity.clientId is missing", commonruntime.IdentityEnv)
	}
	return s, nil
}

// GiveTokens answers the pod's processes until ctx ends.
func GiveTokens(ctx context.Context, cfg IdentityConfig) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", commonruntime.IdentityAddress)
	if err != nil {
		return fmt.Errorf("listening for those who ask for tokens of the managed identity: %w", err)
	}
	return GiveTokensOn(ctx, cfg, l)
}

// GiveTokensOn is GiveTokens at another address.
func GiveTokensOn(ctx context.Context, cfg IdentityConfig, l net.Listener) error {
	log := slog.New(slog.NewTextHandler(cfg.Stderr, nil))
	hc, err := cfg.client()
	if err != nil {
		return err
	}
	srv := identity.New(identity.Config{Identity: cfg.Sidecar.Identity, Secret: cfg.Secret, Assertion: cfg.file(commonruntime.IdentityToken), HTTP: hc, Log: log})
	stop := srv.Serve(l)
	log.Info("giving tokens of the managed identity", "address", l.Addr().String(), "client", cfg.Sidecar.Identity.ClientID)
	<-ctx.Done()
	stop()
	return nil
}

// file reads a token anew each time, since all of them are renewed.
func (c IdentityConfig) file(name string) func() (string, error) {
	return Config{TokenPath: filepath.Join(c.Dir, name)}.readToken
}

// client reaches the control plane through the identity proxy, in a tunnel for each request. TLS ends here: the proxy sees who asks, and
// nothing of what is asked.
func (c IdentityConfig) client() (*http.Client, error) {
	proxy, err := url.Parse(c.Sidecar.Proxy)
	if err != nil {
		return nil, fmt.Errorf("reading the proxy's URL: %w", err)
	}
	hc := httpClient([]byte(c.Sidecar.CA))
	tr, ok := hc.Transport.(*http.Transport)
	if !ok {
		return nil, errors.New("the client has no transport of its own")
	}
	tr.Proxy, tr.DisableKeepAlives = nil, true
	direct := tr.DialContext
	tr.DialContext = func(ctx context.Context, network, target string) (net.Conn, error) {
		proof, err := c.file(commonruntime.IdentityProof)()
		if err != nil {
			return nil, fmt.Errorf("reading the token of the pod's service account: %w", err)
		}
		ctx, cancel := context.WithTimeout(ctx, tunnelTimeout) // the transport's own context has no end
		defer cancel()
		conn, err := direct(ctx, network, proxy.Host)
		if err != nil {
			return nil, fmt.Errorf("reaching the identity proxy: %w", err)
		}
		if err := httptunnel.Ask(ctx, conn, target, http.Header{"Proxy-Authorization": {"Bearer " + proof}}); err != nil {
			conn.Close()
			return nil, fmt.Errorf("through the identity proxy: %w", err)
		}
		return conn, nil
	}
	return hc, nil
}
