package signin

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
)

//go:embed page.html
var pageText string

var pages = template.Must(template.New("").Parse(pageText))

// page is what the templates of page.html show.
type page struct {
	Title, Problem string
	// Client is the program that asks, Device the user code of the one that waits elsewhere, Name who signed in.
	Client, Device, Name string
	// Action and Ticket are of the form, Hint its first field, Fields hidden ones.
	Action, Ticket, Hint string
	Fields               url.Values
	Password             bool
	Outside, OutsideURL  string
	// Nonce lets the page's own style and script be.
	Nonce string
}

// show renders a page that nothing outside can frame, script or read.
func (s *SignIn) show(w http.ResponseWriter, status int, name string, v page) {
	v.Nonce = rand.Text()
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, v); err != nil {
		s.cfg.Log.Error("sign-in page", "error", err)
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	// Redirects that follow a form are forms' targets too, for browsers: the programs that listen on the person's machine.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'nonce-"+v.Nonce+"'; script-src 'nonce-"+v.Nonce+"'; form-action 'self' http://localhost:* http://127.0.0.1:*; frame-ancestors 'none'; base-uri 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the browser has gone
}

// fail shows what is wrong when there is nobody else to tell.
func (s *SignIn) fail(w http.ResponseWriter, status int, problem string) {
	s.show(w, status, "failed", page{Title: "Not signed in", Problem: problem})
}

func sendJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(v) // the client has gone
}
