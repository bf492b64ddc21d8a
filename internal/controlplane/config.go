// Package controlplane wires the control plane: one process that serves the resource manager, the token issuer, the blob
// front, the link to clusters and the run history on one address, and runs the reconcilers.
package controlplane

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/signin"
	"fairlead.dev/fairlead/internal/controlplane/types"
)

// Config is everything that can be set. Every flag has a twin in the environment: --data-dir is FAIRLEAD_DATA_DIR.
type Config struct {
	// DataDir holds keys, certificates, admin.json and, by default, the database and the blobs.
	DataDir string
	// Store is "sqlite", "sqlite:<file>", a file's path, or postgres://…
	Store string
	// Blobs is a folder or s3://bucket?region=…
	Blobs string
	// Listen are addresses host:port.
	Listen []string
	// PublicURL is the address every other party uses; "" derives it from the first listen address.
	PublicURL string
	// StorageSuffix is the name below which storage accounts are hosts, {account}.blob.{suffix}; "" derives it from PublicURL.
	StorageSuffix string
	// TLSCert and TLSKey name a certificate of the user's own; NoTLS serves plain HTTP, for use behind a proxy that does TLS.
	TLSCert, TLSKey string
	NoTLS           bool
	Locations       []string
	// UsersFile is a YAML file of people who sign in with a password (package users); "" is users.yaml in DataDir, which need not be there.
	UsersFile string
	// OIDC is an outside provider that people sign in at; without Issuer there is none. OIDCSecretFile holds its ClientSecret.
	OIDC           signin.OutsideConfig
	OIDCSecretFile string
	// SigningKeyAge is for how long a key signs tokens before the next one does; 0 keeps the one there is.
	SigningKeyAge       time.Duration
	LogLevel, LogFormat string
	// Installer reaches managed clusters; nil takes none.
	Installer types.Installer

	// flags are what Bind bound; those given on the command line win over the environment.
	flags *pflag.FlagSet
	// listening, when set, is told the bound addresses (tests listen on port 0).
	listening func([]net.Addr)
}

// Bind adds the flags to fs.
func (c *Config) Bind(fs *pflag.FlagSet) {
	c.flags = fs
	fs.StringVar(&c.DataDir, "data-dir", defaultDataDir(), "folder for keys, certificates, admin.json, the database and the blobs; replicas share it")
	fs.StringVar(&c.Store, "store", "sqlite", `where resources are kept: "sqlite" (a file in the data folder), a file's path, or postgres://user:password@host/db`)
	fs.StringVar(&c.Blobs, "blobs", "", "where blobs are kept: a folder (default: blobs in the data folder) or s3://bucket?region=...")
	fs.StringSliceVar(&c.Listen, "listen", []string{"127.0.0.1:8443"}, "addresses to listen on, host:port, separated by commas")
	fs.StringVar(&c.PublicURL, "public-url", "", "address that clusters and clients use (default: https://<first listen address>)")
	fs.StringVar(&c.StorageSuffix, "storage-suffix", "", "host[:port] below which other clients find storage accounts, as {account}.blob.<suffix> (default: host and port of the public URL, with localhost for an IP address)")
	fs.StringVar(&c.TLSCert, "tls-cert", "", "PEM file with the server's certificate chain (default: made by an authority in the data folder)")
	fs.StringVar(&c.TLSKey, "tls-key", "", "PEM file with the key of --tls-cert")
	fs.BoolVar(&c.NoTLS, "no-tls", false, "serve plain HTTP; only behind a proxy that does TLS")
	fs.StringSliceVar(&c.Locations, "locations", []string{"local"}, "names of locations to offer, the default first")
	fs.StringVar(&c.UsersFile, "users-file", "", "YAML file of people who sign in with a password, as 'fairlead server users add' writes it; read again when it changes (default: users.yaml in the data folder)")
	fs.StringVar(&c.OIDC.Issuer, "oidc-issuer", "", "address of an OpenID Connect provider that people sign in at, such as https://login.example.com")
	fs.StringVar(&c.OIDC.ClientID, "oidc-client-id", "", "client id by which the provider knows this server; register the redirect URI <public-url>/<tenant>/signin/callback")
	fs.StringVar(&c.OIDCSecretFile, "oidc-client-secret-file", "", "file with the client secret (none: a public client)")
	fs.StringVar(&c.OIDC.CAFile, "oidc-ca-file", "", "PEM file of the authority that verifies the provider (default: the system's)")
	fs.StringVar(&c.OIDC.Name, "oidc-name", "", "what the sign-in page calls the provider (default: its host)")
	fs.DurationVar(&c.SigningKeyAge, "signing-key-age", issuer.DefaultKeyAge, "for how long a key signs tokens before the next one does; 0 does not change keys")
	fs.StringVar(&c.LogLevel, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&c.LogFormat, "log-format", "text", "text or json")
}

func defaultDataDir() string {
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "fairlead", "server")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "share", "fairlead", "server")
	}
	return "fairlead-server"
}

// FromEnv sets every flag that was not given on the command line from its twin in the environment, FAIRLEAD_<NAME>.
func (c *Config) FromEnv(getenv func(string) (string, bool)) error {
	if c.flags == nil {
		return nil
	}
	var errs []error
	c.flags.VisitAll(func(f *pflag.Flag) {
		name := EnvName(f.Name)
		if v, ok := getenv(name); ok && !f.Changed {
			if err := c.flags.Set(f.Name, v); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
	})
	return errors.Join(errs...)
}

// EnvName is the environment twin of a flag.
func EnvName(flag string) string {
	return "FAIRLEAD_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Validate checks the values and fills in what follows from others.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.DataDir == "" {
		bad("--data-dir is empty; name a folder")
	}
	if len(c.Listen) == 0 {
		bad("--listen is empty; name an address such as 127.0.0.1:8443")
	}
	for _, l := range c.Listen {
		if _, _, err := net.SplitHostPort(l); err != nil {
			bad("--listen %q: want host:port, such as 127.0.0.1:8443 or :8443", l)
		}
	}
	if c.PublicURL == "" && len(c.Listen) > 0 {
		c.PublicURL = c.defaultURL()
	}
	c.PublicURL = strings.TrimSuffix(c.PublicURL, "/")
	if u, err := url.Parse(c.PublicURL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.Path != "" || u.RawQuery != "" {
		bad("--public-url %q: want https://host[:port] without a path", c.PublicURL)
	}
	if c.StorageSuffix == "" {
		c.StorageSuffix = defaultSuffix(c.PublicURL)
	}
	if u, err := url.Parse("https://" + c.StorageSuffix); err != nil || u.Host != c.StorageSuffix || !suffixRule.MatchString(u.Hostname()) {
		bad("--storage-suffix %q: want a host name below which {account}.blob.<suffix> are names of this server, such as fairlead.example.com or localhost:8443", c.StorageSuffix)
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		bad("--tls-cert and --tls-key belong together; give both or neither")
	}
	if c.NoTLS && c.TLSCert != "" {
		bad("--no-tls and --tls-cert contradict each other; give one")
	}
	if c.OIDC.Issuer == "" && (c.OIDC.ClientID != "" || c.OIDCSecretFile != "" || c.OIDC.CAFile != "" || c.OIDC.Name != "") {
		bad("--oidc-client-id and the like need --oidc-issuer, the provider's address")
	}
	if least := 2 * issuer.Settle; c.SigningKeyAge != 0 && c.SigningKeyAge < least {
		bad("--signing-key-age %s: want at least %s, or 0 to change keys by hand only", c.SigningKeyAge, least)
	}
	if len(c.Locations) == 0 {
		c.Locations = []string{"local"}
	}
	if c.Blobs == "" {
		c.Blobs = filepath.Join(c.DataDir, "blobs")
	}
	if _, err := c.level(); err != nil {
		errs = append(errs, err)
	}
	if c.LogFormat != "" && c.LogFormat != "text" && c.LogFormat != "json" {
		bad("--log-format %q: want text or json", c.LogFormat)
	}
	if _, _, err := c.storeTarget(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c *Config) defaultURL() string {
	scheme := "https"
	if c.NoTLS {
		scheme = "http"
	}
	host, port, err := net.SplitHostPort(c.Listen[0])
	if ip := net.ParseIP(host); err != nil || host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// suffixRule is a host name; an IP address, whose last part is a number, has no names below it.
var suffixRule = regexp.MustCompile(`^([a-z0-9_-]+\.)*[a-z][a-z0-9-]*$`)

// defaultSuffix is the public URL's host and port. Nothing is below an IP address; names below localhost reach this machine.
func defaultSuffix(publicURL string) string {
	u, err := url.Parse(publicURL)
	if err != nil {
		return ""
	}
	if net.ParseIP(u.Hostname()) == nil {
		return strings.ToLower(u.Host)
	}
	if u.Port() == "" {
		return "localhost"
	}
	return "localhost:" + u.Port()
}

// storeTarget says which engine and where.
func (c *Config) storeTarget() (engine, where string, err error) {
	switch s := c.Store; {
	case s == "" || s == "sqlite":
		return "sqlite", filepath.Join(c.DataDir, "fairlead.db"), nil
	case strings.HasPrefix(s, "postgres://"), strings.HasPrefix(s, "postgresql://"):
		return "postgres", s, nil
	case strings.HasPrefix(s, "sqlite:"):
		return "sqlite", strings.TrimPrefix(strings.TrimPrefix(s, "sqlite:"), "//"), nil
	case strings.Contains(s, "://"):
		scheme, _, _ := strings.Cut(s, "://") // the rest may hold a password
		return "", "", fmt.Errorf("--store begins with %q://; want sqlite, a file's path or postgres://", scheme)
	default:
		return "sqlite", s, nil
	}
}

func (c *Config) level() (slog.Level, error) {
	var l slog.Level
	if c.LogLevel == "" {
		return slog.LevelInfo, nil
	}
	if err := l.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return l, fmt.Errorf("--log-level %q: want debug, info, warn or error", c.LogLevel)
	}
	return l, nil
}

func (c *Config) logger() *slog.Logger {
	l, _ := c.level() // Validate has checked it
	o := &slog.HandlerOptions{Level: l}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}
