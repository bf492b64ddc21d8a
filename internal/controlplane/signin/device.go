package signin

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/throttle"
)

// typeDevice is the internal record type of device codes that wait.
const typeDevice = "fairlead.internal/devicecodes"

// alphabet of user codes has no vowels, so that they spell nothing, and nothing that looks alike (RFC 8628, 6.1). Eight of them are
// 34 bits; who tries some has to sign in at each, and then helps another's program to the wrong person's rights.
const alphabet = "BCDFGHJKLMNPQRSTVWXZ"

// device is the record's body.
type device struct {
	Client  string    `json:"client"`
	Refresh bool      `json:"refresh,omitempty"`
	Until   time.Time `json:"until"`
	// Who has approved it; nil while it waits.
	Who *who `json:"who,omitempty"`
}

// deviceTicket is what a device code says.
type deviceTicket struct{ UserCode, Client string }

func deviceKey(userCode string) string { return "/internal/devicecodes/" + strings.ToLower(userCode) }

func newUserCode() string {
	b := make([]byte, 8)
	for i := range b {
		for {
			if _, err := rand.Read(b[i : i+1]); err != nil {
				panic(err) // crypto/rand.Read never fails
			}
			if int(b[i]) < 256/len(alphabet)*len(alphabet) {
				break
			}
		}
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b)
}

// tidyCode reads a code as people type it.
func tidyCode(s string) string {
	return strings.Map(func(c rune) rune {
		if strings.ContainsRune(alphabet, c) {
			return c
		}
		return -1
	}, strings.ToUpper(clip(s)))
}

func shownCode(code string) string {
	if len(code) != 8 {
		return code
	}
	return code[:4] + "-" + code[4:]
}

// serveDeviceCode begins: the client shows the user code and asks with the device code until somebody has signed in.
func (s *SignIn) serveDeviceCode(w http.ResponseWriter, r *http.Request) {
	client := r.PostForm.Get("client_id")
	if _, ok := clients[strings.ToLower(client)]; !ok {
		s.issuer.SendError(w, r, unknownClient(client))
		return
	}
	if ok, retry := s.devices.Take(throttle.Origin(r)); !ok {
		s.issuer.SendError(w, r, issuer.RefuseFor(retry, "temporarily_unavailable", 90055, "Too many device codes were asked for from this address."))
		return
	}
	user, until := newUserCode(), s.cfg.Now().Add(DeviceTTL)
	err := s.keepDevice(r, user, device{Client: strings.ToLower(client), Refresh: hasScope(r.PostForm.Get("scope"), "offline_access"), Until: until})
	var sealed string
	if err == nil {
		sealed, err = s.seal(forDevice, deviceTicket{user, strings.ToLower(client)}, until.Add(time.Minute))
	}
	if err != nil {
		s.issuer.SendError(w, r, s.issuer.Broken(r.Context(), err))
		return
	}
	at := s.cfg.PublicURL + "/common/oauth2/deviceauth"
	sendJSON(w, map[string]any{
		"user_code": shownCode(user), "device_code": sealed, "verification_uri": at, "verification_uri_complete": at + "?user_code=" + shownCode(user),
		"expires_in": int(DeviceTTL / time.Second), "interval": 5,
		"message": fmt.Sprintf("To sign in, use a web browser to open the page %s and enter the code %s to authenticate.", at, shownCode(user)),
	})
}

// keepDevice stores a code that waits, and forgets those whose time has gone.
func (s *SignIn) keepDevice(r *http.Request, userCode string, d device) error {
	body, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("encoding device code: %w", err)
	}
	key, now := deviceKey(userCode), s.cfg.Now().UTC().Truncate(time.Microsecond)
	return s.cfg.Store.Update(r.Context(), func(tx store.Tx) error {
		old, err := tx.List(r.Context(), store.Query{Type: typeDevice, AnyParent: true, Limit: 100})
		if err != nil {
			return fmt.Errorf("listing device codes: %w", err)
		}
		for _, rec := range old {
			if now.Sub(rec.CreatedAt) > DeviceTTL+time.Minute {
				if err := tx.Delete(r.Context(), rec.Key); err != nil {
					return fmt.Errorf("forgetting device code: %w", err)
				}
			}
		}
		_, err = tx.Put(r.Context(), store.Record{Key: key, ID: key, Type: typeDevice, Name: userCode, Body: body, CreatedAt: now, UpdatedAt: now, CreatedBy: "fairlead", UpdatedBy: "fairlead"})
		return err
	})
}

// waiting reads the device code that a user code names; false when there is none, or not any more.
func (s *SignIn) waiting(r *http.Request, rd store.Reader, userCode string) (device, store.Record, bool, error) {
	var d device
	rec, err := rd.Get(r.Context(), deviceKey(userCode))
	if errors.Is(err, store.ErrNotFound) {
		return d, rec, false, nil
	}
	if err == nil {
		err = json.Unmarshal(rec.Body, &d)
	}
	return d, rec, err == nil && s.cfg.Now().Before(d.Until), err
}

// serveDevicePage asks for the code.
func (s *SignIn) serveDevicePage(w http.ResponseWriter, r *http.Request) {
	s.show(w, http.StatusOK, "device", page{Title: "Sign in on another device", Action: s.base() + "/oauth2/deviceauth", Hint: shownCode(tidyCode(r.URL.Query().Get("user_code")))})
}

// serveUserCode goes on to the sign-in page, which names the client that waits.
func (s *SignIn) serveUserCode(w http.ResponseWriter, r *http.Request) {
	user := tidyCode(r.PostForm.Get("user_code"))
	again := func(status int, problem string) {
		s.show(w, status, "device", page{Title: "Sign in on another device", Action: s.base() + "/oauth2/deviceauth", Problem: problem})
	}
	if ok, _ := s.guesses.Take("device " + throttle.Origin(r)); !ok {
		again(http.StatusTooManyRequests, "Too many codes from here. Wait a minute.")
		return
	}
	d, _, ok, err := s.waiting(r, s.cfg.Store, user)
	switch {
	case err != nil:
		s.broken(r.Context(), w, err)
	case !ok || d.Who != nil:
		again(http.StatusBadRequest, "No program waits for this code. It may have expired; start again there.")
	default:
		s.guesses.GiveBack("device " + throttle.Origin(r))
		s.showSignIn(w, r, request{Client: d.Client, UserCode: user}, http.StatusOK, "")
	}
}

// approve lets the client that waits have its tokens.
func (s *SignIn) approve(w http.ResponseWriter, r *http.Request, q request, p who) {
	var ok bool
	err := s.cfg.Store.Update(r.Context(), func(tx store.Tx) error {
		d, rec, waits, err := s.waiting(r, tx, q.UserCode)
		if ok = waits && d.Who == nil; err != nil || !ok {
			return err
		}
		d.Who = &p
		if rec.Body, err = json.Marshal(d); err != nil {
			return fmt.Errorf("encoding device code: %w", err)
		}
		_, err = tx.Put(r.Context(), rec)
		return err
	})
	switch {
	case err != nil:
		s.broken(r.Context(), w, err)
	case !ok:
		s.fail(w, http.StatusBadRequest, "The code has expired or was used. Start again on the other device.")
	default:
		s.show(w, http.StatusOK, "done", page{Title: "You are signed in", Client: q.clientName(), Name: p.Name})
	}
}

// redeemDevice answers a client that asks whether somebody has signed in.
func (s *SignIn) redeemDevice(r *http.Request, client string) (issuer.Person, *issuer.Error) {
	var t deviceTicket
	expired := issuer.Refuse(http.StatusBadRequest, "expired_token", 70019, "The device code has expired, or was redeemed. Start again.")
	if err := s.open(forDevice, r.PostForm.Get("device_code"), &t); err != nil || !strings.EqualFold(t.Client, client) {
		return issuer.Person{}, expired
	}
	if ok, _ := s.polls.Take(t.UserCode); !ok {
		return issuer.Person{}, issuer.Refuse(http.StatusBadRequest, "slow_down", 70017, "Ask every 5 seconds.")
	}
	id := uuid.NewString()
	var d device
	var ok bool
	err := s.cfg.Store.Update(r.Context(), func(tx store.Tx) (err error) {
		var rec store.Record
		if d, rec, ok, err = s.waiting(r, tx, t.UserCode); err != nil || !ok || d.Who == nil {
			return err
		}
		if err := tx.Delete(r.Context(), rec.Key); err != nil || !d.Refresh {
			return err
		}
		return s.begin(r.Context(), tx, id, client, *d.Who)
	})
	switch {
	case err != nil:
		return issuer.Person{}, s.issuer.Broken(r.Context(), err)
	case !ok:
		return issuer.Person{}, expired
	case d.Who == nil:
		return issuer.Person{}, issuer.Refuse(http.StatusBadRequest, "authorization_pending", 70016, "OAuth 2.0 device flow error. Authorization is pending. Continue polling.")
	}
	return s.withRefresh(r.Context(), d.Who.person(client, ""), id, d.Refresh, d.Who.ends(s.cfg.Now()))
}
