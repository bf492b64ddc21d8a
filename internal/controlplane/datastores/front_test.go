package datastores_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/controlplane/blobs"
	"fairlead.dev/fairlead/internal/controlplane/datastores/datastorestest"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/types/dataaddress"
	"fairlead.dev/fairlead/internal/testing/s3test"
)

// TestFront_LeadsToTheBytes: a plain HTTP client that follows redirects reads, writes and deletes objects of somebody else's S3.
func TestFront_LeadsToTheBytes(t *testing.T) {
	s := s3test.Start(t)
	s.Bucket(t, "lake")
	base := datastorestest.New(t, datastorestest.Config{Datastores: map[string]string{
		"lake": datastorestest.Body(s.Endpoint, ""), "deep": datastorestest.Body(s.Endpoint, `"prefix":"team/a b",`)}}).Account
	do := func(method, url, body string) (status int, text string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer me")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(b)
	}
	const name = "x/é+ &=$'(1)!*~:@;,.bin"
	for _, at := range []string{base + "/lake/" + dataaddress.Escape(name), base + "/Deep/" + dataaddress.Escape(name)} {
		if status, text := do("PUT", at, "hello"); status != 200 {
			t.Fatalf("PUT %s: %d %s", at, status, text)
		}
		if status, text := do("GET", at, ""); status != 200 || text != "hello" {
			t.Errorf("GET %s: %d %q", at, status, text)
		}
	}
	if got, ok := s.Get(t, "lake", "team/a b/"+name); !ok || got != "hello" {
		t.Errorf("below the prefix is %q, %t", got, ok)
	}
	if status, text := do("GET", base+"/deep?list-type=2&prefix=x%2F", ""); status != 200 || !strings.Contains(text, "<Key>team/a b/x/") {
		t.Errorf("list: %d %s", status, text)
	}
	if status, text := do("DELETE", base+"/deep/"+dataaddress.Escape(name), ""); status != 204 {
		t.Errorf("DELETE: %d %s", status, text)
	}
	if _, ok := s.Get(t, "lake", "team/a b/"+name); ok {
		t.Error("a deleted object is there")
	}
	if status, text := do("GET", base+"/lake/none", ""); status != 404 || !strings.Contains(text, "NoSuchKey") {
		t.Errorf("GET of nothing: %d %s", status, text)
	}
}

// TestFront_Refuses: what is refused gets no signature.
func TestFront_Refuses(t *testing.T) {
	authorize := func(p resource.Principal, at dataaddress.Address, write bool) error {
		switch {
		case p.ID == "broken":
			return errors.New("the database is away")
		case p.ID == "reader" && !write && (at.Path == "a" || strings.HasPrefix(at.Path, "a/")):
			return nil
		}
		return blobs.Refusef("no right to %q", at.Path)
	}
	base := datastorestest.New(t, datastorestest.Config{Datastores: map[string]string{"lake": datastorestest.Body("https://s3.example", "")}, Authorize: authorize}).Account
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for name, c := range map[string]struct {
		token, method, path string
		status              int
		text                string
	}{
		"may read":             {"reader", "GET", "/lake/a/b", 307, ""},
		"may list":             {"reader", "GET", "/lake?list-type=2&prefix=a/", 307, ""},
		"names beside":         {"reader", "GET", "/lake?list-type=2&prefix=a", 400, "end with a slash"},
		"another folder":       {"reader", "GET", "/lake/b", 403, "no right to"},
		"the whole":            {"reader", "GET", "/lake?list-type=2&prefix=", 403, "no right to"},
		"write":                {"reader", "PUT", "/lake/a/b", 403, "AccessDenied"},
		"a part":               {"reader", "PUT", "/lake/a/b?partNumber=1&uploadId=x", 403, "AccessDenied"},
		"delete":               {"reader", "DELETE", "/lake/a/b", 403, "AccessDenied"},
		"no token":             {"", "GET", "/lake/a/b", 401, "no token"},
		"cannot be decided":    {"broken", "GET", "/lake/a/b", 503, "try again"},
		"another operation":    {"reader", "GET", "/lake/a/b?acl=", 400, "not one of the operations"},
		"a key twice":          {"reader", "GET", "/lake?list-type=2&prefix=a/&prefix=b/", 400, "not one of the operations"},
		"copying from beside":  {"reader", "POST", "/lake/a/b?uploads=&x=", 400, "not one of the operations"},
		"dots":                 {"reader", "GET", "/lake/a/%2e%2e/b", 400, "InvalidURI"},
		"encoded twice":        {"reader", "GET", "/lake/a/%252e%252e/b", 400, "InvalidURI"},
		"a datastore not here": {"reader", "GET", "/pond/a/b", 404, "no datastore pond"},
		"a datastore not S3":   {"reader", "GET", "/workspaceblobstore/a/b", 404, "no datastore workspaceblobstore"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), c.method, base+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.token != "" {
				req.Header.Set("Authorization", "Bearer "+c.token)
			}
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != c.status || !strings.Contains(string(b), c.text) {
				t.Errorf("%d %s %v", res.StatusCode, b, err)
			}
			if to := res.Header.Get("Location"); (to != "") != (c.status == 307) || strings.Contains(to+string(b), s3test.SecretAccessKey) {
				t.Errorf("Location %q", to)
			}
		})
	}
}
