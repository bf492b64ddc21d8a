package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"html"
	"net"
	"net/http"
	"time"

	"github.com/cli/browser"
	"golang.org/x/oauth2"

	"fairlead.dev/fairlead/internal/cli/profile"
	"fairlead.dev/fairlead/internal/client"
)

// signInTimeout is how long a browser has.
const signInTimeout = 15 * time.Minute

// signIn lets a person log in, in a browser of this machine or of another, and lays who it is over the profile.
func (a *app) signIn(ctx context.Context, p profile.Profile, f loginFlags) (profile.Profile, client.Token, error) {
	hinted := p.Username
	if f.user != "" {
		hinted = f.user
	}
	p.ClientID, p.ClientSecret = client.PublicClientID, ""
	tenant := f.tenant
	if tenant == "" {
		tenant = "common"
	}
	c, err := a.newClient(p.Endpoint, p.CAFile, nil)
	if err != nil {
		return p, client.Token{}, err
	}
	way := a.byBrowser
	if f.deviceCode {
		way = a.byDevice
	}
	ctx, cancel := context.WithTimeout(ctx, signInTimeout)
	defer cancel()
	l, err := way(ctx, c, tenant, hinted)
	if err != nil {
		return p, client.Token{}, fmt.Errorf("logging in: %w", err)
	}
	p.Tenant, p.Username, p.RefreshToken = l.Tenant, l.Username, l.RefreshToken
	return p, l.Token, nil
}

func (a *app) byDevice(ctx context.Context, c *client.Client, tenant, _ string) (client.Login, error) {
	d, err := c.BeginDevice(ctx, tenant)
	if err != nil {
		return client.Login{}, err
	}
	fmt.Fprintln(a.deps.Stderr, d.Message)
	return c.AwaitDevice(ctx, tenant, d, a.deps.Now)
}

// byBrowser opens the sign-in page and takes the code that it sends to this program.
func (a *app) byBrowser(ctx context.Context, c *client.Client, tenant, hinted string) (client.Login, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return client.Login{}, fmt.Errorf("waiting for the browser: %w", err)
	}
	redirect, state, verifier := "http://"+l.Addr().String()+"/", rand.Text(), oauth2.GenerateVerifier()
	answers := make(chan answer, 1)
	srv := &http.Server{Handler: catch(state, answers), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(l) }() // ends with Shutdown
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx) // the browser has what it needs, or has gone
	}()
	page := c.AuthorizeURL(tenant, redirect, state, oauth2.S256ChallengeFromVerifier(verifier), hinted)
	a.note("Opening the sign-in page in a browser. If none opens, go to\n%s\nWithout a browser on this machine use 'fairlead login --use-device-code'.", page)
	if err := a.deps.OpenBrowser(page); err != nil {
		a.note("No browser could be opened: %v", err)
	}
	select {
	case <-ctx.Done():
		return client.Login{}, ctx.Err()
	case got := <-answers:
		if got.err != nil {
			return client.Login{}, got.err
		}
		return c.RedeemCode(ctx, tenant, got.code, redirect, verifier, a.deps.Now())
	}
}

// answer is what the browser brings.
type answer struct {
	code string
	err  error
}

// catch takes the one answer that has our state; others are somebody else's.
func catch(state string, answers chan<- answer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.URL.Path != "/" || q.Get("state") != state {
			http.Error(w, "This is not the answer that fairlead login waits for.", http.StatusBadRequest)
			return
		}
		got, says := answer{code: q.Get("code")}, "You are signed in. You can close this page."
		if reason := q.Get("error"); reason != "" || got.code == "" {
			got.err = errors.New(reason + ": " + q.Get("error_description"))
			says = "You are not signed in: " + q.Get("error_description")
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, "<!doctype html><title>Fairlead</title><p>%s</p>\n", html.EscapeString(says))
		select {
		case answers <- got:
		default: // it came twice
		}
	})
}

// openBrowser opens a page without the browser's chatter.
func openBrowser(page string) error {
	browser.Stdout, browser.Stderr = nil, nil
	return browser.OpenURL(page)
}
