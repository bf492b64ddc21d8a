package blobs

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/service"
	"gocloud.dev/blob/memblob"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
)

type token string

func (t token) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(t), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// hosts sends what goes to an account's host to the test's server.
func (w *world) hosts() azcore.ClientOptions {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", w.srv.Listener.Addr().String())
	}
	transport := &http.Transport{DialContext: dial}
	w.t.Cleanup(transport.CloseIdleConnections)
	return azcore.ClientOptions{InsecureAllowCredentialWithHTTP: true, Transport: &http.Client{Transport: transport}, Retry: policy.RetryOptions{MaxRetries: -1}}
}

// TestAzureClientSigns: the client's own signatures, made with a user delegation key, open what they say and no more than their maker may.
func TestAzureClientSigns(t *testing.T) {
	w := newWorld(t, memblob.OpenBucket(nil))
	may := true
	authorize := w.cfg.Authorize
	w.cfg.Authorize = func(ctx context.Context, p resource.Principal, account, container, name string, write bool) error {
		if !may || p.ID != "u" {
			return arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "%s may not any more", p.ID)
		}
		return authorize(ctx, p, account, container, name, write)
	}
	w.want(w.do("PUT", "mine/deep/a b.txt", "", "text", blockBlob), 201, "")
	w.want(w.do("PUT", "mine/deeper", "", "text", blockBlob), 201, "")
	ctx, options, address := t.Context(), w.hosts(), "http://"+acct+".blob.localhost/"
	client := func(who string) *service.Client {
		c, err := service.NewClient(address, token(who), &service.ClientOptions{ClientOptions: options})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	now := time.Now().UTC()
	times := func(start, expiry time.Duration) service.KeyInfo {
		return service.KeyInfo{Start: to.Ptr(now.Add(start).Format(sas.TimeFormat)), Expiry: to.Ptr(now.Add(expiry).Format(sas.TimeFormat))}
	}
	if _, err := client("bad").GetUserDelegationCredential(ctx, times(0, time.Hour), nil); err == nil {
		t.Errorf("a key for nobody: %v", err)
	}
	for name, info := range map[string]service.KeyInfo{"over": times(-2*time.Hour, -time.Hour), "long": times(0, 8*24*time.Hour), "turned": times(2*time.Hour, time.Hour)} {
		if _, err := client("good").GetUserDelegationCredential(ctx, info, nil); status(err) != 400 {
			t.Errorf("a key for a time that is %s: %v", name, err)
		}
	}
	key, err := client("good").GetUserDelegationCredential(ctx, times(-time.Minute, time.Hour), nil)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(v sas.BlobSignatureValues) string {
		t.Helper()
		v.Protocol, v.ExpiryTime, v.ContainerName = sas.ProtocolHTTPSandHTTP, now.Add(30*time.Minute), "azureml"
		q, err := v.SignWithUserDelegation(key)
		if err != nil {
			t.Fatal(err)
		}
		return q.Encode()
	}
	try := func(method, name, query string, headers ...string) answer {
		return w.raw(method, w.srv.URL+"/blob/"+acct+"/azureml"+name+"?"+query, "", append(headers, blockBlob)...)
	}
	blob := sign(sas.BlobSignatureValues{BlobName: "mine/deep/a b.txt", Permissions: (&sas.BlobPermissions{Read: true}).String(), ContentType: "x/override"})
	got := w.want(try("GET", "/mine/deep/a%20b.txt", blob), 200, "")
	if got.body != "text" || got.header.Get("Content-Type") != "x/override" {
		t.Errorf("%+v", got)
	}
	w.want(try("GET", "/mine/deeper", blob), 403, "AuthenticationFailed")
	w.want(try("GET", "/mine/deep/a%20b.txt", strings.Replace(blob, "sp=r", "sp=rw", 1)), 403, "AuthenticationFailed")
	w.want(try("GET", "/mine/deep/a%20b.txt", blob+"&sip=127.0.0.1"), 403, "AuthenticationFailed")
	w.want(try("PUT", "/mine/deep/a%20b.txt", blob), 403, "AuthorizationPermissionMismatch")

	all := sign(sas.BlobSignatureValues{Permissions: (&sas.ContainerPermissions{Read: true, Write: true, Create: true, List: true, Delete: true}).String()})
	c, err := container.NewClientWithNoCredential(address+"azureml?"+all, &container.ClientOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.NewBlockBlobClient("mine/new").UploadBuffer(ctx, []byte("new"), nil); err != nil {
		t.Error(err)
	}
	page, err := c.NewListBlobsFlatPager(nil).NextPage(ctx)
	if err != nil || len(page.Segment.BlobItems) != 3 {
		t.Errorf("%+v, %v", page.Segment, err)
	}
	w.want(try("PUT", "/theirs", all), 403, "AuthorizationPermissionMismatch") // nor may who signed it

	folder := sign(sas.BlobSignatureValues{Directory: "mine/deep", Permissions: (&sas.BlobPermissions{Read: true, List: true}).String()})
	w.want(try("GET", "/mine/deep/a%20b.txt", folder), 200, "")
	w.want(try("GET", "/mine/deeper", folder), 403, "AuthenticationFailed")

	may = false
	w.want(try("GET", "/mine/deep/a%20b.txt", blob), 403, "AuthorizationPermissionMismatch")
	may = true
	w.now = w.now.Add(45 * time.Minute)
	w.want(try("GET", "/mine/deep/a%20b.txt", blob), 403, "AuthenticationFailed")
}

func status(err error) int {
	var e *azcore.ResponseError
	if errors.As(err, &e) {
		return e.StatusCode
	}
	return 0
}

// TestDelegationIsForPeopleAndServices: tokens that reach a part of an account only get no key for all of it.
func TestDelegationIsForPeopleAndServices(t *testing.T) {
	for kind, want := range map[string]int{"User": 200, "ServicePrincipal": 200, "ManagedIdentity": 403, "Run": 403, "Deployment": 403, "Agent": 403} {
		f := New(Config{Bucket: memblob.OpenBucket(nil), PublicURL: "https://x", SASKey: []byte("k"),
			Verify:    func(*http.Request) (resource.Principal, error) { return resource.Principal{ID: "x", Kind: kind}, nil },
			Authorize: func(context.Context, resource.Principal, string, string, string, bool) error { return nil }})
		body := "<KeyInfo><Expiry>" + time.Now().UTC().Add(time.Hour).Format(sasTime) + "</Expiry></KeyInfo>"
		r := httptest.NewRequest("POST", "/blob/"+acct+"/?restype=service&comp=userdelegationkey", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer x")
		rec := httptest.NewRecorder()
		f.Handler().ServeHTTP(rec, r)
		if rec.Code != want {
			t.Errorf("%s: %d %s", kind, rec.Code, rec.Body)
		}
	}
}

// TestDelegationKeysAreApart: what a key is made with is no other key, and what it is made of no other text.
func TestDelegationKeysAreApart(t *testing.T) {
	w := newWorld(t, memblob.OpenBucket(nil))
	if bytes.Equal(w.delegation, w.cfg.SASKey) || len(w.delegation) != 32 {
		t.Errorf("the key is %x", w.delegation)
	}
	body := "<KeyInfo><Expiry>" + time.Now().UTC().Add(time.Hour).Format(sasTime) + "</Expiry></KeyInfo>"
	for version, want := range map[string]int{"2026-04-06": 200, "2026-04-06x": 400, "20-26-04-06": 400, "x": 400} {
		got := w.raw("POST", w.srv.URL+"/blob/"+acct+"/?restype=service&comp=userdelegationkey", body, "Authorization: Bearer good", "x-ms-version: "+version)
		w.want(got, want, "")
	}
}

// TestDelegatedFields: what is signed, by version of the protocol.
func TestDelegatedFields(t *testing.T) {
	q := url.Values{}
	for version, want := range map[string]int{"2020-12-06": 24, "2025-07-05": 26, "2026-04-06": 28} {
		q.Set("sv", version)
		if got := len(delegatedFields(q, blobName{acct, "azureml", "x"})); got != want {
			t.Errorf("version %s: %d fields, want %d", version, got, want)
		}
	}
}

// TestSignaturesOfClients: what the builders of two clients made of one key opens the blob, and nothing else does. Versions are those of
// the protocol, which differ in what is signed.
func TestSignaturesOfClients(t *testing.T) {
	const signer = "&skoid=u&sktid=a-tenant&skt=2026-01-02T03%3A04%3A05Z&ske=2026-01-03T03%3A04%3A05Z&sks=b&skv=2026-04-06&sr=b&sp=r" +
		"&st=2026-01-02T04%3A00%3A00Z&se=2026-01-02T10%3A00%3A00Z"
	at := time.Date(2026, 1, 2, 5, 0, 0, 0, time.UTC)
	f := New(Config{Bucket: memblob.OpenBucket(nil), PublicURL: "https://x", SASKey: []byte("0123456789abcdef0123456789abcdef"), Clock: func() time.Time { return at }})
	f.delegation = f.cfg.SASKey // what the clients' key was made with
	for name, query := range map[string]string{
		"azure-storage-blob 12.31":                "sv=2026-10-06&sig=%2BxbJVuOxFqSDtG0a8WkBIFro/u4PZ3gNwIqWQn8exTI%3D",
		"@azure/storage-blob 12.32":               "sv=2026-04-06&sig=BUqrjcRq4ANt8IlymDoVvgOphg8WOu8ANb9X2jhaGOg%3D",
		"@azure/storage-blob 12.32 as 2025-07-05": "sv=2025-07-05&sig=3JDcot1ue%2BAo0knn42%2Fn8%2B86Nt25Sc9In9NNx50W4mE%3D",
		"@azure/storage-blob 12.32 as 2020-12-06": "sv=2020-12-06&sig=CYHbu%2BFfBWjrBtaAywUhhmbSLShDGt45OsCYxjaLYFc%3D",
	} {
		q, err := url.ParseQuery(query + signer)
		if err != nil {
			t.Fatal(err)
		}
		if perms, err := f.checkSAS(q, blobName{acct, "azureml", "dir/a b.txt"}, true); err != nil || perms != "r" {
			t.Errorf("%s: %q, %v", name, perms, err)
		}
		for _, k := range append([]string{"sv", "sp", "st", "se", "scid", "rsct"}, keyFields...) {
			changed := maps.Clone(q)
			changed.Set(k, q.Get(k)+"0")
			if _, err := f.checkSAS(changed, blobName{acct, "azureml", "dir/a b.txt"}, true); err == nil {
				t.Errorf("%s: opens with another %s", name, k)
			}
		}
	}
}
