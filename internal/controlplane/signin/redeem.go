package signin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// code is what an authorization code says. Its ID becomes the sign-in's, so that a code which comes back ends it.
type code struct {
	ID      string
	Request request
	Who     who
}

func (s *SignIn) newCode(q request, p who) (string, error) {
	return s.seal(forCode, code{uuid.NewString(), q, p}, s.cfg.Now().Add(CodeTTL))
}

// Redeem answers a grant of the token endpoint.
func (s *SignIn) Redeem(r *http.Request, grant string) (issuer.Person, *issuer.Error) {
	client := r.PostForm.Get("client_id")
	if _, ok := clients[strings.ToLower(client)]; !ok {
		return issuer.Person{}, unknownClient(client)
	}
	switch grant {
	case issuer.GrantCode:
		return s.redeemCode(r, client)
	case issuer.GrantDevice:
		return s.redeemDevice(r, client)
	default:
		return s.refresh(r, client)
	}
}

func invalidGrant(number int, format string, args ...any) *issuer.Error {
	return issuer.Refuse(http.StatusBadRequest, "invalid_grant", number, format, args...)
}

func (s *SignIn) redeemCode(r *http.Request, client string) (issuer.Person, *issuer.Error) {
	var c code
	if err := s.open(forCode, r.PostForm.Get("code"), &c); err != nil {
		return issuer.Person{}, invalidGrant(70008, "The provided authorization code is expired, or was not made by this server. Sign in again.")
	}
	verifier := r.PostForm.Get("code_verifier")
	sum := sha256.Sum256([]byte(verifier))
	switch {
	case !strings.EqualFold(c.Request.Client, client):
		return issuer.Person{}, invalidGrant(700005, "The authorization code was issued to another client than '%s'.", clip(client))
	case r.PostForm.Get("redirect_uri") != c.Request.Redirect:
		return issuer.Person{}, invalidGrant(500112, "The redirect URI '%s' is not the one of the authorization request.", clip(r.PostForm.Get("redirect_uri")))
	case subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(c.Request.Challenge)) != 1:
		return issuer.Person{}, invalidGrant(501481, "The code_verifier does not match the code_challenge of the authorization request.")
	}
	var first bool
	err := s.cfg.Store.Update(r.Context(), func(tx store.Tx) (err error) {
		if first, err = tx.UseOnce(r.Context(), "code/"+c.ID, s.cfg.Now().Add(CodeTTL)); err != nil {
			return err
		}
		if !first { // whoever has it twice is not the one who signed in
			return ignoreAbsent(tx.Delete(r.Context(), signInKey(c.ID)))
		}
		if !c.Request.Refresh {
			return nil
		}
		return s.begin(r.Context(), tx, c.ID, client, c.Who)
	})
	switch {
	case err != nil:
		return issuer.Person{}, s.issuer.Broken(r.Context(), err)
	case !first:
		return issuer.Person{}, invalidGrant(54005, "OAuth2 authorization code was already redeemed; what it began is ended. Sign in again.")
	}
	return s.withRefresh(r.Context(), c.Who.person(client, c.Request.Nonce), c.ID, c.Request.Refresh, c.Who.ends(s.cfg.Now()))
}

// ends is until when somebody stays signed in at most.
func (w who) ends(from time.Time) time.Time {
	if w.Proof == "" {
		return from.Add(OutsideTTL)
	}
	return from.Add(SignInTTL)
}

// withRefresh adds the refresh token of a sign-in to what is answered.
func (s *SignIn) withRefresh(ctx context.Context, p issuer.Person, id string, wanted bool, ends time.Time) (issuer.Person, *issuer.Error) {
	if !wanted {
		return p, nil
	}
	until := s.cfg.Now().Add(RefreshTTL)
	if ends.Before(until) {
		until = ends
	}
	var err error
	if p.Refresh, err = s.seal(forRefresh, id, until); err != nil {
		return p, s.issuer.Broken(ctx, err)
	}
	return p, nil
}

// typeSignIn is the internal record type of sign-ins that go on.
const typeSignIn = "fairlead.internal/signins"

// maxSignIns is how many a person has at most; the oldest ends when another begins.
const maxSignIns = 50

// signIn is the record's body.
type signIn struct {
	Client string `json:"client"`
	Who    who    `json:"who"`
}

func signInKey(id string) string { return "/internal/signins/" + id }

// begin keeps a sign-in, and forgets those of the person that have ended.
func (s *SignIn) begin(ctx context.Context, tx store.Tx, id, client string, p who) error {
	body, err := json.Marshal(signIn{strings.ToLower(client), p})
	if err != nil {
		return fmt.Errorf("encoding sign-in: %w", err)
	}
	now, parent := s.cfg.Now().UTC().Truncate(time.Microsecond), "/internal/people/"+p.ObjectID
	old, err := tx.List(ctx, store.Query{Type: typeSignIn, Parent: parent, Limit: 1000})
	if err != nil {
		return fmt.Errorf("listing sign-ins: %w", err)
	}
	for i, rec := range old {
		if len(old)-i >= maxSignIns || now.Sub(rec.CreatedAt) > SignInTTL {
			if err := tx.Delete(ctx, rec.Key); err != nil {
				return fmt.Errorf("forgetting sign-in: %w", err)
			}
		}
	}
	key := signInKey(id)
	_, err = tx.Put(ctx, store.Record{Key: key, ID: key, Type: typeSignIn, Parent: parent, Name: id, Body: body, CreatedAt: now, UpdatedAt: now, CreatedBy: p.ObjectID, UpdatedBy: p.ObjectID})
	if err != nil {
		return fmt.Errorf("keeping sign-in: %w", err)
	}
	return nil
}

// refresh goes on with a sign-in. The token before stays good until its end, as the reference's does: programs that share a cache refresh at the same time.
func (s *SignIn) refresh(r *http.Request, client string) (issuer.Person, *issuer.Error) {
	ended := invalidGrant(700082, "The refresh token has expired, was revoked, or its user was removed or has a new password. Sign in again.")
	var id string
	if err := s.open(forRefresh, r.PostForm.Get("refresh_token"), &id); err != nil {
		return issuer.Person{}, ended
	}
	rec, err := s.cfg.Store.Get(r.Context(), signInKey(id))
	if errors.Is(err, store.ErrNotFound) {
		return issuer.Person{}, ended
	}
	var si signIn
	if err == nil {
		err = json.Unmarshal(rec.Body, &si)
	}
	if err != nil {
		return issuer.Person{}, s.issuer.Broken(r.Context(), err)
	}
	p, ok := s.still(si.Who)
	if !ok || !strings.EqualFold(si.Client, client) {
		return issuer.Person{}, ended
	}
	return s.withRefresh(r.Context(), p.person(client, ""), id, true, si.Who.ends(rec.CreatedAt))
}

// still is what is known now of somebody who signed in; false when the person may not any more.
func (s *SignIn) still(p who) (who, bool) {
	if p.Proof == "" {
		return p, s.cfg.Outside != nil
	}
	u, ok := s.cfg.Users.Find(p.Username)
	now := local(u)
	return now, ok && now.Proof == p.Proof && now.ObjectID == p.ObjectID
}

// serveRevoke ends a sign-in (RFC 7009). A token that is not known is as good as revoked.
func (s *SignIn) serveRevoke(w http.ResponseWriter, r *http.Request) {
	var id string
	if err := s.open(forRefresh, r.PostForm.Get("token"), &id); err == nil {
		err := s.cfg.Store.Update(r.Context(), func(tx store.Tx) error { return ignoreAbsent(tx.Delete(r.Context(), signInKey(id))) })
		if err != nil {
			s.issuer.SendError(w, r, s.issuer.Broken(r.Context(), err))
			return
		}
	}
	w.WriteHeader(http.StatusOK)
}

func ignoreAbsent(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
