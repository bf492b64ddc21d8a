// Package persontest is somebody before a browser, who signs in with name and password on the control plane's pages.
package persontest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
)

// Person signs in.
type Person struct {
	Name, Password string
	http           *http.Client
}

// New is a person whose browser trusts the authority of a PEM file beside no other.
func New(caFile, name, password string) (Person, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return Person{}, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return Person{name, password, &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}}}, nil
}

func (p Person) read(res *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return string(body), err
}

var (
	actionField = regexp.MustCompile(`<form [^>]*method="post" action="([^"]+)"`)
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]+)" value="([^"]*)"`)
)

// submit sends the page's form, with its hidden fields, and gives what answers at its end.
func (p Person) submit(page string, fields url.Values) (string, error) {
	action := actionField.FindStringSubmatch(page)
	if action == nil {
		return "", errors.New("no form in " + page)
	}
	for _, m := range hiddenField.FindAllStringSubmatch(page, -1) {
		fields.Set(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	return p.read(p.http.PostForm(html.UnescapeString(action[1]), fields))
}

// signIn fills in the sign-in page and follows where it leads, also by a page whose script posts to the program that asked.
func (p Person) signIn(page string) error {
	next, err := p.submit(page, url.Values{"username": {p.Name}, "password": {p.Password}})
	if err == nil && regexp.MustCompile(`id="back"`).MatchString(next) {
		_, err = p.submit(next, url.Values{})
	}
	return err
}

// Open signs in on the page that a program opens.
func (p Person) Open(page string) error {
	text, err := p.read(p.http.Get(page))
	if err != nil {
		return err
	}
	return p.signIn(text)
}

// Approve types a device's code in on the page that its message names.
func (p Person) Approve(page, code string) error {
	text, err := p.read(p.http.Get(page))
	if err == nil {
		text, err = p.submit(text, url.Values{"user_code": {code}})
	}
	if err != nil {
		return err
	}
	return p.signIn(text)
}
