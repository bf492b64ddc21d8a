package conformance

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"fairlead.dev/fairlead/internal/testing/persontest"
	"fairlead.dev/fairlead/internal/testing/serverproc"
)

// Ada is in the users file of a lab that asked for her, as Contributor of the subscription.
const (
	adaName, adaPassword = "ada@example.com", "correct horse"
	contributorRole      = "b24988ac-6180-42a0-ab88-20f7382dd24c"
)

// withAda adds her.
func (l *lab) withAda(t *testing.T) persontest.Person {
	t.Helper()
	file, err := program()
	if err != nil {
		t.Fatal(err)
	}
	add := exec.Command(file, "server", "users", "add", adaName, "--display-name", "Ada", "--data-dir", l.Dir)
	add.Stdin, add.Stderr = strings.NewReader(adaPassword), os.Stderr
	id, err := add.Output()
	if err != nil {
		t.Fatal(err)
	}
	l.mayContribute(t, strings.TrimSpace(string(id)), "User")
	p, err := persontest.New(l.CAFile, adaName, adaPassword)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// signInByDevice is azidentity's device code, approved by Ada.
func signInByDevice(t *testing.T, l *lab, ada persontest.Person, options azcore.ClientOptions) {
	c, err := azidentity.NewDeviceCodeCredential(&azidentity.DeviceCodeCredentialOptions{ClientOptions: options, TenantID: l.TenantID, DisableInstanceDiscovery: true,
		UserPrompt: func(_ context.Context, m azidentity.DeviceCodeMessage) error {
			return ada.Approve(m.VerificationURL, m.UserCode)
		}})
	if err != nil {
		t.Fatal(err)
	}
	useAsPerson(t, l, c)
}

// signInByBrowser is azidentity's browser, which is a program of this test that says where it was sent.
func signInByBrowser(t *testing.T, l *lab, ada persontest.Person, options azcore.ClientOptions) {
	dir := t.TempDir()
	asked := filepath.Join(dir, "asked")
	if err := os.WriteFile(filepath.Join(dir, "xdg-open"), []byte("#!/bin/sh\nprintf %s \"$1\" >"+asked+".part && mv "+asked+".part "+asked+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	c, err := azidentity.NewInteractiveBrowserCredential(&azidentity.InteractiveBrowserCredentialOptions{ClientOptions: options, TenantID: l.TenantID, DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() {
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-time.After(20 * time.Millisecond) {
			if page, err := os.ReadFile(asked); err == nil {
				opened <- ada.Open(string(page))
				return
			}
		}
		opened <- context.DeadlineExceeded
	}()
	useAsPerson(t, l, c)
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

// useAsPerson gets a token, a second one without the person, and reads something with it.
func useAsPerson(t *testing.T, l *lab, c azcore.TokenCredential) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tok, err := c.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{l.Base + "/.default"}})
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}})
	if err != nil || again.Token == tok.Token {
		t.Errorf("for another scope, by the refresh token: %v", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.Base+l.group+serverproc.APIVersion, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+again.Token)
	res, err := l.loopback(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("reading the group: %s", res.Status)
	}
}
