// Package profile keeps who is logged in to which control plane, the defaults and the token cache, in files that only
// their owner can read.
package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"fairlead.dev/fairlead/internal/client"
)

// ErrLoggedOut: there is no profile and the environment names none; the caller tells the user to log in.
var ErrLoggedOut = errors.New("not logged in")

// Profile is one login. Environment variables win over what is stored.
type Profile struct {
	Endpoint     string `json:"endpoint"`
	CAFile       string `json:"caFile,omitempty"`
	Tenant       string `json:"tenantId"`
	Subscription string `json:"subscriptionId,omitempty"`
	ClientID     string `json:"clientId"`
	ClientSecret string `json:"clientSecret,omitempty"`
	// Username is who logged in, and RefreshToken goes on with that, when it was a person and not a service principal.
	Username     string `json:"username,omitempty"`
	RefreshToken string `json:"refreshToken,omitempty"`
}

// Store is a folder of profile files.
type Store struct {
	Dir string
	// Env looks up an environment variable; "" when it is not set.
	Env func(string) string
}

// Dir is FAIRLEAD_CONFIG_DIR, or .fairlead in the home folder.
func Dir(env func(string) string) (string, error) {
	if d := env("FAIRLEAD_CONFIG_DIR"); d != "" {
		return d, nil
	}
	home := env("HOME")
	if home == "" {
		var err error
		if home, err = os.UserHomeDir(); err != nil {
			return "", fmt.Errorf("finding the configuration folder: %w (set FAIRLEAD_CONFIG_DIR)", err)
		}
	}
	return filepath.Join(home, ".fairlead"), nil
}

// Load reads the login and lays the environment over it; ErrLoggedOut when neither names an endpoint and a client.
func (s Store) Load() (Profile, error) {
	var p Profile
	if err := s.read("profile.json", &p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	stored := p
	for name, field := range map[string]*string{
		"FAIRLEAD_ENDPOINT": &p.Endpoint, "FAIRLEAD_CA_FILE": &p.CAFile, "FAIRLEAD_TENANT": &p.Tenant,
		"FAIRLEAD_SUBSCRIPTION": &p.Subscription, "FAIRLEAD_CLIENT_ID": &p.ClientID, "FAIRLEAD_CLIENT_SECRET": &p.ClientSecret,
	} {
		if v := s.Env(name); v != "" {
			*field = v
		}
	}
	if p.Endpoint != stored.Endpoint || p.ClientID != stored.ClientID {
		// Another control plane or another client: what belongs to the stored one must not be sent there.
		if s.Env("FAIRLEAD_CLIENT_SECRET") == "" {
			p.ClientSecret = ""
		}
		p.Username, p.RefreshToken = "", ""
	}
	if p.Endpoint == "" || p.ClientID == "" {
		return p, ErrLoggedOut
	}
	return p, nil
}

// Stored reads the login without the environment; a zero Profile when there is none.
func (s Store) Stored() (Profile, error) {
	var p Profile
	err := s.read("profile.json", &p)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return p, err
}

// Save writes the login and forgets cached tokens.
func (s Store) Save(p Profile) error {
	if err := s.forgetTokens(); err != nil {
		return err
	}
	return s.write("profile.json", p)
}

// Remove forgets the login, its CA and its tokens; defaults stay.
func (s Store) Remove() error {
	if err := s.forgetTokens(); err != nil {
		return err
	}
	for _, f := range []string{"profile.json", "ca.crt"} {
		if err := os.Remove(filepath.Join(s.Dir, f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("logging out: %w", err)
		}
	}
	return nil
}

// KeepCA copies a CA bundle beside the profile, so that it outlives its source, and returns the copy's path.
func (s Store) KeepCA(pem []byte) (string, error) {
	if err := s.writeFile("ca.crt", pem); err != nil {
		return "", err
	}
	return filepath.Join(s.Dir, "ca.crt"), nil
}

// Defaults are values for flags that are not given (group, workspace, location).
func (s Store) Defaults() (map[string]string, error) {
	d := map[string]string{}
	if err := s.read("defaults.json", &d); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, k := range []string{"group", "workspace", "location"} {
		if v := s.Env("FAIRLEAD_DEFAULTS_" + map[string]string{"group": "GROUP", "workspace": "WORKSPACE", "location": "LOCATION"}[k]); v != "" {
			d[k] = v
		}
	}
	return d, nil
}

// SetDefaults stores defaults; an empty value removes one.
func (s Store) SetDefaults(set map[string]string) error {
	d := map[string]string{}
	if err := s.read("defaults.json", &d); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for k, v := range set {
		if d[k] = v; v == "" {
			delete(d, k)
		}
	}
	return s.write("defaults.json", d)
}

type cachedToken struct {
	Endpoint, Tenant, ClientID string
	client.Token
}

// Token returns the cached token of a login, if there is one.
func (s Store) Token(p Profile) (client.Token, bool) {
	var c cachedToken
	if s.read("token.json", &c) != nil || c.Endpoint != p.Endpoint || c.Tenant != p.Tenant || c.ClientID != p.ClientID {
		return client.Token{}, false
	}
	return c.Token, true
}

// SaveToken caches a token.
func (s Store) SaveToken(p Profile, t client.Token) error {
	return s.write("token.json", cachedToken{p.Endpoint, p.Tenant, p.ClientID, t})
}

func (s Store) forgetTokens() error {
	err := os.Remove(filepath.Join(s.Dir, "token.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting tokens: %w", err)
	}
	return nil
}

func (s Store) read(name string, out any) error {
	path := filepath.Join(s.Dir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading %s: %w", name, err)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("reading %s: %w (delete it and log in again)", path, err)
	}
	return nil
}

func (s Store) write(name string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return s.writeFile(name, append(data, '\n'))
}

// writeFile replaces a file in one step, readable by its owner only.
func (s Store) writeFile(name string, data []byte) error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("making %s: %w", s.Dir, err)
	}
	f, err := os.CreateTemp(s.Dir, "."+name+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(s.Dir, name))
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return nil
}
