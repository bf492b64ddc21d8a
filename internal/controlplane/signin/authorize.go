package signin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/throttle"
	"fairlead.dev/fairlead/internal/controlplane/users"
)

// serveAuthorize shows the sign-in page of a request that is in order.
func (s *SignIn) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	q, oe := parseRequest(r.URL.Query())
	switch {
	case oe != nil && q.Redirect == "":
		s.fail(w, oe.Status(), oe.Description)
	case oe != nil:
		s.redirect(w, r, q, url.Values{"error": {oe.Error}, "error_description": {oe.Description}})
	default:
		s.showSignIn(w, r, q, http.StatusOK, "")
	}
}

// showSignIn shows the form; problem is what was wrong with the last try.
func (s *SignIn) showSignIn(w http.ResponseWriter, r *http.Request, q request, status int, problem string) {
	ticket, err := s.seal(forPage, q, s.cfg.Now().Add(PageTTL))
	if err != nil {
		s.broken(r.Context(), w, err)
		return
	}
	v := page{Title: "Sign in", Client: q.clientName(), Device: q.UserCode, Hint: q.Hint, Problem: problem, Ticket: ticket, Action: s.base() + "/signin"}
	v.Password = s.cfg.Outside == nil || s.cfg.Users.Any()
	if s.cfg.Outside != nil {
		v.Outside, v.OutsideURL = s.cfg.Outside.cfg.Name, s.base()+"/signin/outside?ticket="+ticket
	}
	s.show(w, status, "signin", v)
}

const pageOld = "This page is too old, or not from this server. Go back to the program that opened it and start again."

// servePassword takes name and password.
func (s *SignIn) servePassword(w http.ResponseWriter, r *http.Request) {
	var q request
	if err := s.open(forPage, r.PostForm.Get("ticket"), &q); err != nil {
		s.fail(w, http.StatusBadRequest, pageOld)
		return
	}
	name, password := strings.TrimSpace(r.PostForm.Get("username")), r.PostForm.Get("password")
	q.Hint = clip(name)
	if name == "" || password == "" || len(password) > 1024 {
		s.showSignIn(w, r, q, http.StatusBadRequest, "Enter your name and your password.")
		return
	}
	key := strings.ToLower(name) + " " + throttle.Origin(r)
	if ok, retry := s.guesses.Take(key); !ok {
		s.showSignIn(w, r, q, http.StatusTooManyRequests, "Too many wrong passwords. Try again in "+retry.Round(time.Second).String()+".")
		return
	}
	u, ok, err := s.check(r.Context(), name, password)
	switch {
	case errors.Is(err, throttle.ErrFull):
		s.guesses.GiveBack(key)
		s.showSignIn(w, r, q, http.StatusServiceUnavailable, "Too many people sign in right now. Try again in a moment.")
		return
	case err != nil: // the browser has gone
		s.guesses.GiveBack(key)
		return
	case !ok:
		s.cfg.Log.WarnContext(r.Context(), "sign-in refused: wrong name or password", "name", clip(name), "from", throttle.Origin(r))
		s.showSignIn(w, r, q, http.StatusUnauthorized, "Name or password is wrong.")
		return
	}
	s.guesses.GiveBack(key)
	s.finish(w, r, q, local(u))
}

// check looks a password up when it is its turn.
func (s *SignIn) check(ctx context.Context, name, password string) (u users.User, ok bool, err error) {
	if err := s.checks.Enter(ctx); err != nil {
		return u, false, err
	}
	defer s.checks.Leave()
	u, ok = s.cfg.Users.Check(name, password)
	return u, ok, nil
}

// finish gives the client what it asked for: a code by way of the browser, or the device's approval.
func (s *SignIn) finish(w http.ResponseWriter, r *http.Request, q request, p who) {
	s.cfg.Log.InfoContext(r.Context(), "signed in", "user", p.Username, "objectId", p.ObjectID, "client", q.clientName(), "device", q.UserCode != "")
	if q.UserCode != "" {
		s.approve(w, r, q, p)
		return
	}
	c, err := s.newCode(q, p)
	if err != nil {
		s.broken(r.Context(), w, err)
		return
	}
	s.redirect(w, r, q, url.Values{"code": {c}})
}

// redirect sends the browser back to the client, with the state that it knows its request by.
func (s *SignIn) redirect(w http.ResponseWriter, r *http.Request, q request, v url.Values) {
	if q.State != "" {
		v.Set("state", q.State)
	}
	if q.Mode == "form_post" {
		s.show(w, http.StatusOK, "post", page{Title: "Signing in", Action: q.Redirect, Fields: v})
		return
	}
	u, err := url.Parse(q.Redirect)
	if err != nil {
		s.broken(r.Context(), w, err)
		return
	}
	all := u.Query()
	for k := range v {
		all.Set(k, v.Get(k))
	}
	u.RawQuery = all.Encode()
	http.Redirect(w, r, u.String(), http.StatusSeeOther)
}

// fingerprint tells a password's hash from another without telling it.
func fingerprint(hash string) string {
	sum := sha256.Sum256([]byte("fairlead/signin/password\x00" + hash))
	return hex.EncodeToString(sum[:8])
}

var _ issuer.People = (*SignIn)(nil)
