package conformance

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
)

// TestGo is the three clients that Go programs begin with: azidentity, armmsi, azblob.
func TestGo(t *testing.T) {
	l := newLab(t)
	options := azcore.ClientOptions{Transport: l.loopback(t), Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: l.Base,
		Services: map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: l.Base, Audience: l.Base}}}}
	secret := func(s string) azcore.TokenCredential {
		c, err := azidentity.NewClientSecretCredential(l.TenantID, l.ClientID, s,
			&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	credential := secret(l.ClientSecret)
	var got []result
	step := func(operation string, f func(t *testing.T)) {
		got = append(got, result{Operation: operation, OK: t.Run(operation, f)})
	}
	step("log in with a client secret", func(t *testing.T) {
		if tok, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{l.Base + "/.default"}}); err != nil || tok.Token == "" {
			t.Error(err)
		}
	})
	step("be told that a secret is wrong", func(t *testing.T) {
		_, err := secret("wrong").GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{l.Base + "/.default"}})
		if failed, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); !ok || !strings.Contains(failed.Error(), "AADSTS7000215") {
			t.Error(err)
		}
	})
	step("log in with a certificate", func(t *testing.T) { signInByCertificate(t, l.withCertificate(t), options) })
	ada := l.withAda(t)
	step("log in a person with a device code", func(t *testing.T) { signInByDevice(t, l, ada, options) })
	step("log in a person in a browser", func(t *testing.T) { signInByBrowser(t, l, ada, options) })
	step("make, list and delete a managed identity", func(t *testing.T) {
		useIdentities(t, l, credential, &arm.ClientOptions{ClientOptions: options, DisableRPRegistration: true})
	})
	step("reach blobs with the caller's own token", func(t *testing.T) {
		useBlobs(t, l.withWorkspace(t, "go-lab"), credential, options)
	})
	if !t.Failed() {
		record(t, "azure-sdk-for-go", got)
	}
}

// signInByCertificate proves who asks with the key of a certificate, and that a role holds for who it is.
func signInByCertificate(t *testing.T, l *lab, options azcore.ClientOptions) {
	raw, err := os.ReadFile(l.certFile)
	if err != nil {
		t.Fatal(err)
	}
	certs, key, err := azidentity.ParseCertificates(raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, chain := range []bool{false, true} {
		credential, err := azidentity.NewClientCertificateCredential(l.TenantID, l.app, certs, key,
			&azidentity.ClientCertificateCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true, SendCertificateChain: chain})
		if err != nil {
			t.Fatal(err)
		}
		c, err := armmsi.NewUserAssignedIdentitiesClient(l.SubscriptionID, credential, &arm.ClientOptions{ClientOptions: options, DisableRPRegistration: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.NewListByResourceGroupPager(groupName, nil).NextPage(t.Context()); err != nil {
			t.Errorf("with the chain %v: %v", chain, err)
		}
	}
}

func useIdentities(t *testing.T, l *lab, credential azcore.TokenCredential, options *arm.ClientOptions) {
	ctx := t.Context()
	c, err := armmsi.NewUserAssignedIdentitiesClient(l.SubscriptionID, credential, options)
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.CreateOrUpdate(ctx, groupName, "go-id", armmsi.Identity{Location: to.Ptr("local")}, nil)
	if err != nil || made.Properties == nil || *made.Properties.ClientID == "" || *made.Properties.TenantID != l.TenantID {
		t.Fatalf("%+v, %v", made, err)
	}
	var names []string
	for p := c.NewListByResourceGroupPager(groupName, nil); p.More(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.Value {
			names = append(names, *v.Name)
		}
	}
	if len(names) != 1 || names[0] != "go-id" {
		t.Errorf("listed %v", names)
	}
	if _, err := c.Delete(ctx, groupName, "go-id", nil); err != nil {
		t.Error(err)
	}
	_, err = c.Get(ctx, groupName, "go-id", nil)
	if re, ok := errors.AsType[*azcore.ResponseError](err); !ok || re.ErrorCode != "ResourceNotFound" {
		t.Error(err)
	}
}

// useBlobs reaches the workspace's account by its host name, with a token for storage.
func useBlobs(t *testing.T, l *lab, credential azcore.TokenCredential, options azcore.ClientOptions) {
	ctx := t.Context()
	account, container := l.account(t, "go-lab")
	c, err := azblob.NewClient(strings.Replace(l.Base, "localhost", account+".blob.localhost", 1), credential, &azblob.ClientOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 3<<20)
	_, _ = rand.Read(data)
	if _, err := c.UploadStream(ctx, container, "go/deep/a ü.bin", bytes.NewReader(data), &azblob.UploadStreamOptions{BlockSize: 1 << 20, Concurrency: 2}); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(data))
	if n, err := c.DownloadBuffer(ctx, container, "go/deep/a ü.bin", got, nil); err != nil || n != int64(len(data)) || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := c.DeleteBlob(ctx, container, "go/deep/a ü.bin", nil); err != nil {
		t.Error(err)
	}
}

// loopback trusts the server's CA and reaches names below localhost wherever the machine's resolver leads.
func (l *lab) loopback(t *testing.T) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(l.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, fmt.Errorf("dialing %s: %w", addr, err)
		}
		return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}
