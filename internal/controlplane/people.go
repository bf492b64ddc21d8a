package controlplane

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/signin"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/users"
)

// UsersFileName is the name, in the data folder, of the users file when none is given.
const UsersFileName = "users.yaml"

// openSignIn prepares how people sign in.
func openSignIn(cfg Config, tenantID string, st store.Store, box *seal.Box, log *slog.Logger) (*signin.SignIn, error) {
	sc := signin.Config{PublicURL: cfg.PublicURL, TenantID: tenantID, Store: st, Box: box, Log: log}
	var err error
	sc.Users, err = users.Open(cmp.Or(cfg.UsersFile, filepath.Join(cfg.DataDir, UsersFileName)), log)
	if err != nil && (cfg.UsersFile != "" || !errors.Is(err, os.ErrNotExist)) {
		return nil, fmt.Errorf("--users-file: %w", err)
	}
	if cfg.OIDC.Issuer != "" {
		oc := cfg.OIDC
		oc.Redirect = cfg.PublicURL + "/" + tenantID + "/signin/callback"
		if cfg.OIDCSecretFile != "" {
			secret, err := os.ReadFile(cfg.OIDCSecretFile)
			if err != nil {
				return nil, fmt.Errorf("--oidc-client-secret-file: %w", err)
			}
			oc.ClientSecret = strings.TrimSpace(string(secret))
		}
		if sc.Outside, err = signin.NewOutside(oc); err != nil {
			return nil, fmt.Errorf("--oidc-issuer and the like: %w", err)
		}
	}
	return signin.New(sc), nil
}
