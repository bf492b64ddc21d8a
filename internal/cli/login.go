package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/cli/profile"
	"fairlead.dev/fairlead/internal/client"
)

type loginFlags struct {
	endpoint, caFile, user, secret, tenant string
	servicePrincipal, allowNoSubs          bool
	deviceCode, browser                    bool
}

func (a *app) login() *cobra.Command {
	var f loginFlags
	c := a.leaf(&cobra.Command{
		Use: "login", Short: "Log in to a control plane",
		Long: `Log in to a control plane: as a person in a browser, or as a service principal with its secret. What is not given comes
from the environment (FAIRLEAD_ENDPOINT, FAIRLEAD_CLIENT_ID, FAIRLEAD_CLIENT_SECRET, FAIRLEAD_TENANT, FAIRLEAD_CA_FILE), then
from the last login, and so does the way; so after "fairlead up" a plain "fairlead login" does. A value @FILE of --password is
read from a file.`,
		Example: `  fairlead login --endpoint https://host:8443                     # in a browser
  fairlead login --endpoint https://host:8443 --use-device-code   # in a browser of another machine
  fairlead login --endpoint https://host:8443 --ca-file ca.crt --service-principal -u APP-ID -p @secret.txt --tenant TENANT-ID
  fairlead login                                                  # again, as before`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runLogin(cmd.Context(), f) },
	})
	fs := c.Flags()
	fs.BoolVar(&f.servicePrincipal, "service-principal", false, "log in as a service principal, with its secret")
	fs.BoolVar(&f.deviceCode, "use-device-code", false, "show a code to type in in a browser elsewhere")
	fs.BoolVar(&f.browser, "browser", false, "log in as a person, also after a login as a service principal")
	fs.StringVarP(&f.user, "username", "u", "", "client `id` of the service principal, or the person's name")
	fs.StringVarP(&f.secret, "password", "p", "", "its `secret`, or @file")
	fs.StringVarP(&f.tenant, "tenant", "t", "", "`id` of the tenant")
	fs.StringVar(&f.endpoint, "endpoint", "", "`address` of the control plane")
	fs.StringVar(&f.caFile, "ca-file", "", "PEM `file` of the CA that verifies the control plane")
	fs.BoolVar(&f.allowNoSubs, "allow-no-subscriptions", false, "accept a login that sees no subscription")
	return c
}

func (a *app) runLogin(ctx context.Context, f loginFlags) error {
	store, err := a.store()
	if err != nil {
		return err
	}
	p, err := a.loginProfile(store, f)
	if err != nil {
		return err
	}
	caPEM, err := a.loginCA(&p)
	if err != nil {
		return err
	}
	if err := require(need{"--endpoint (or FAIRLEAD_ENDPOINT)", p.Endpoint}); err != nil {
		return hint(err, "'fairlead up' starts a control plane on this machine and logs in to it.")
	}
	var t client.Token
	if f.asPerson(p) {
		p, t, err = a.signIn(ctx, p, f)
	} else {
		p, t, err = a.bySecret(ctx, p)
	}
	if err != nil {
		return err
	}
	if len(caPEM) > 0 {
		if p.CAFile, err = store.KeepCA(caPEM); err != nil {
			return err
		}
	}
	if err := errors.Join(store.Save(p), store.SaveToken(p, t)); err != nil {
		return err
	}
	return a.afterLogin(ctx, store, p, f.allowNoSubs)
}

// asPerson reports whether a browser is to be opened: what is given decides, then what the last login was.
func (f loginFlags) asPerson(p profile.Profile) bool {
	switch {
	case f.deviceCode || f.browser:
		return true
	case f.servicePrincipal || f.secret != "" || p.ClientSecret != "":
		return false
	}
	return f.user == "" && p.ClientID == "" || p.ClientID == client.PublicClientID || !isGUID(f.user) && f.user != ""
}

func isGUID(s string) bool { return uuid.Validate(s) == nil }

// bySecret logs a service principal in.
func (a *app) bySecret(ctx context.Context, p profile.Profile) (profile.Profile, client.Token, error) {
	var t client.Token
	p.Username, p.RefreshToken = "", ""
	if err := require(need{"--username/-u (or FAIRLEAD_CLIENT_ID)", p.ClientID},
		need{"--password/-p (or FAIRLEAD_CLIENT_SECRET)", p.ClientSecret}, need{"--tenant/-t (or FAIRLEAD_TENANT)", p.Tenant}); err != nil {
		return p, t, err
	}
	c, err := a.newClient(p.Endpoint, p.CAFile, nil)
	if err != nil {
		return p, t, err
	}
	if t, err = c.ClientCredentials(ctx, p.Tenant, p.ClientID, p.ClientSecret, a.deps.Now()); err != nil {
		return p, t, fmt.Errorf("logging in: %w", err)
	}
	return p, t, nil
}

// loginProfile lays flags over the environment over the last login.
func (a *app) loginProfile(store profile.Store, f loginFlags) (profile.Profile, error) {
	p, err := store.Load()
	if err != nil && !errors.Is(err, profile.ErrLoggedOut) {
		return p, err
	}
	if strings.HasPrefix(f.secret, "@") {
		data, err := os.ReadFile(f.secret[1:])
		if err != nil {
			return p, usagef("argument --password/-p: %v", err)
		}
		f.secret = strings.TrimSpace(string(data))
	}
	if f.endpoint != "" && strings.TrimRight(f.endpoint, "/") != p.Endpoint || f.user != "" && f.user != p.ClientID {
		p.ClientSecret, p.Subscription = a.deps.Env("FAIRLEAD_CLIENT_SECRET"), ""
	}
	for _, x := range []struct{ given, place *string }{
		{&f.endpoint, &p.Endpoint}, {&f.user, &p.ClientID}, {&f.secret, &p.ClientSecret}, {&f.tenant, &p.Tenant}, {&f.caFile, &p.CAFile},
	} {
		if *x.given != "" {
			*x.place = *x.given
		}
	}
	p.Endpoint = strings.TrimRight(p.Endpoint, "/")
	if u, err := url.Parse(p.Endpoint); p.Endpoint != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
		return p, usagef("argument --endpoint: %q is not an address such as https://host:8443", p.Endpoint)
	}
	return p, nil
}

func (a *app) loginCA(p *profile.Profile) ([]byte, error) {
	if p.CAFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(p.CAFile)
	if err != nil {
		return nil, usagef("argument --ca-file: %v", err)
	}
	p.CAFile, err = filepath.Abs(p.CAFile)
	return pem, err
}

// afterLogin chooses a subscription and prints what the login sees.
func (a *app) afterLogin(ctx context.Context, store profile.Store, p profile.Profile, allowNone bool) error {
	s, err := a.connect()
	if err != nil {
		return err
	}
	subs, err := s.subscriptions(ctx)
	if err != nil {
		return err
	}
	if len(subs) == 0 && !allowNone {
		return hint(fmt.Errorf("no subscriptions found for %s (object id %s)", s.user()["name"], s.objectID()), "Ask for a role assignment to that object id, or pass --allow-no-subscriptions.")
	}
	known := false
	for _, sub := range subs {
		known = known || sub["id"] == p.Subscription
	}
	if !known && len(subs) > 0 {
		p.Subscription, _ = subs[0]["id"].(string)
		t, _ := store.Token(p)
		if err := errors.Join(store.Save(p), store.SaveToken(p, t)); err != nil {
			return err
		}
	}
	for _, sub := range subs {
		sub["isDefault"] = sub["id"] == p.Subscription
	}
	return a.print(subs, accountColumns...)
}

func (a *app) logout() *cobra.Command {
	return a.leaf(&cobra.Command{
		Use: "logout", Short: "Forget the login and its tokens",
		Long:    "Forget the login and its tokens. The control plane is told that a person's sign-in has ended, and renews its tokens no more.",
		Example: "  fairlead logout",
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := a.store()
			if err != nil {
				return err
			}
			a.revoke(cmd.Context(), store)
			return store.Remove()
		},
	})
}

// revoke tells the control plane that a person's login has ended. One that cannot be told does not keep the login here.
func (a *app) revoke(ctx context.Context, store profile.Store) {
	p, err := store.Stored()
	if err != nil || p.RefreshToken == "" {
		return
	}
	c, err := a.newClient(p.Endpoint, p.CAFile, nil)
	if err == nil {
		err = c.Revoke(ctx, p.Tenant, p.RefreshToken)
	}
	if err != nil {
		warn(a.deps, "the control plane does not know yet that this login has ended: %v", err)
	}
}

// LocalProfile is a login made for the user, as "fairlead up" does with the control plane it started.
type LocalProfile struct {
	// Endpoint is the control plane's address, CAFile the PEM that verifies it (copied beside the profile).
	Endpoint, CAFile                                 string
	TenantID, SubscriptionID, ClientID, ClientSecret string
}

// SaveLocalProfile stores a login as if the user had logged in; the next command uses it.
func SaveLocalProfile(p LocalProfile) error {
	dir, err := profile.Dir(os.Getenv)
	if err != nil {
		return err
	}
	store := profile.Store{Dir: dir, Env: os.Getenv}
	if p.CAFile != "" {
		pem, err := os.ReadFile(p.CAFile)
		if err != nil {
			return fmt.Errorf("reading the control plane's CA: %w", err)
		}
		if p.CAFile, err = store.KeepCA(pem); err != nil {
			return err
		}
	}
	return store.Save(profile.Profile{
		Endpoint: strings.TrimRight(p.Endpoint, "/"), CAFile: p.CAFile, Tenant: p.TenantID, Subscription: p.SubscriptionID,
		ClientID: p.ClientID, ClientSecret: p.ClientSecret,
	})
}
