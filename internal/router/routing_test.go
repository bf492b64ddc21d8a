package router

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/router/routertest"
	"fairlead.dev/fairlead/internal/router/table"
)

func TestPaths(t *testing.T) {
	model := serveModel(t, echo)
	r := start(t, routertest.One("one", func(d *v1alpha1.OnlineDeployment) { d.Spec.Routes.ScoringPath = "/v1/models/m:predict" }, model.addr), nil)
	for path, want := range map[string]string{
		"/api/v1/endpoint/one/score":              "POST /v1/models/m:predict hello",
		"/api/v1/endpoint/ONE/score?a=1&b=%20;c":  "POST /v1/models/m:predict?a=1&b=%20;c hello",
		"/api/v1/endpoint/one/swagger.json":       "POST /swagger.json hello",
		"/api/v1/endpoint/one/v2/a%2Fb/%20c?x":    "POST /v2/a%2Fb/%20c?x hello",
		"/api/v1/endpoint/one/score/":             "POST /score/ hello",
		"/api/v1/endpoint/one/":                   "POST / hello",
		"/api/v1/endpoint/one":                    "POST / hello",
		"/api/v1/endpoint/one/with%0d%0aline:%20": "POST /with%0d%0aline:%20 hello",
	} {
		a := ask(t, r, "POST", path, "hello")
		if a.status != 200 || a.body != want {
			t.Errorf("%s: %d %q, want %q", path, a.status, a.body, want)
		}
	}
	for _, path := range []string{"/", "/score", "/api/v1/endpoint/", "/api/v1/service/one/score"} {
		ask(t, r, "POST", path, "").want(t, 404, `"code":"NotFound"`)
	}
	ask(t, r, "POST", "/api/v1/endpoint/two/score", "").want(t, 404, `There is no endpoint \"two\" in this cluster.`)
}

func TestKeys(t *testing.T) {
	model := serveModel(t, echo)
	objects := routertest.One("one", nil, model.addr)
	objects.Endpoints[0].Spec.Auth.KeyHashes = append(objects.Endpoints[0].Spec.Auth.KeyHashes, routertest.HashOf("second"))
	two := routertest.One("two", nil, model.addr)
	objects = table.Objects{Endpoints: append(objects.Endpoints, two.Endpoints...), Deployments: append(objects.Deployments, two.Deployments...), Slices: append(objects.Slices, two.Slices...)}
	r := start(t, objects, nil)
	for _, key := range []string{"Bearer " + routertest.Key("one"), "bearer second", "Bearer  second"} {
		a := ask(t, r, "POST", score, "", "Authorization", key)
		a.want(t, 200, "POST /score")
		if seen := a.header.Get("X-Seen-Authorization"); seen != "" {
			t.Errorf("the model was given the key: %q", seen)
		}
	}
	for _, key := range []string{"", "Bearer", "Bearer wrong", "Basic second", "second", "Bearer " + routertest.Key("two"), "Bearer " + routertest.HashOf("second"), "Bearer " + routertest.Key("one") + "x"} {
		a := ask(t, r, "POST", score, "", "Authorization", key)
		a.want(t, 401, `"code":"Unauthorized"`)
		if a.header.Get("WWW-Authenticate") != "Bearer" || strings.Contains(a.body, routertest.Key("two")) {
			t.Errorf("%v %s", a.header, a.body)
		}
	}
	if model.n.Load() != 3 {
		t.Errorf("the model was asked %d times, want 3", model.n.Load())
	}
}

func TestSplit(t *testing.T) {
	blue, green := serveModel(t, says("blue")), serveModel(t, says("green"))
	objects := table.Objects{
		Endpoints:   []*v1alpha1.OnlineEndpoint{routertest.Endpoint("one", "blue=90 green=10 gone=50"), routertest.Endpoint("none", "blue=0")},
		Deployments: []*v1alpha1.OnlineDeployment{routertest.Deployment("one", "blue"), routertest.Deployment("one", "green"), routertest.Deployment("none", "blue")},
		Slices:      append(routertest.Slices("one", "blue", blue.addr), routertest.Slices("one", "green", green.addr)...),
	}
	r := start(t, objects, nil)
	got := map[string]int{}
	for range 1000 {
		a := ask(t, r, "POST", score, "x")
		if a.header.Get("azureml-model-deployment") != a.body {
			t.Fatalf("header says %q, answered %q", a.header.Get("azureml-model-deployment"), a.body)
		}
		got[a.body]++
	}
	if got["green"] < 40 || got["green"] > 180 || got["blue"]+got["green"] != 1000 { // 100 ± 6 standard deviations
		t.Errorf("of 1000 at 90:10: %v", got)
	}
	ask(t, r, "POST", score, "", "azureml-model-deployment", "Green").want(t, 200, "green")
	ask(t, r, "POST", score, "", "azureml-model-deployment", "red").want(t, 404, "No route found or no valid deployments to route to")
	ask(t, r, "POST", "/api/v1/endpoint/none/score", "", "Authorization", "Bearer "+routertest.Key("none")).want(t, 404, "No route found or no valid deployments to route to")
}

func TestIDs(t *testing.T) {
	model := serveModel(t, echo)
	r := start(t, routertest.One("one", nil, model.addr), nil)
	guid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	for given, want := range map[string]string{"": "", "my-id_1": "my-id_1", "a b!c": "abc", strings.Repeat("x", 50): strings.Repeat("x", 40)} {
		a := ask(t, r, "POST", score, "", "x-request-id", "mine", "x-ms-client-request-id", given)
		if id := a.header.Get("x-request-id"); !guid.MatchString(id) || id != a.header.Get("X-Seen-Id") {
			t.Errorf("request id %q, the model saw %q", id, a.header.Get("X-Seen-Id"))
		}
		if id := a.header.Get("x-ms-client-request-id"); id != want || id != a.header.Get("X-Seen-Client-Id") {
			t.Errorf("client's id %q is %q, want %q; the model saw %q", given, id, want, a.header.Get("X-Seen-Client-Id"))
		}
	}
}

func TestMirror(t *testing.T) {
	seen := make(chan string, 10)
	blue := serveModel(t, echo)
	green := serveModel(t, func(w http.ResponseWriter, r *http.Request) {
		echoed := &strings.Builder{}
		_, _ = echoed.WriteString(r.Header.Get("azureml-model-deployment"))
		seen <- echoed.String()
		http.Error(w, "nobody sees this", 500)
	})
	objects := routertest.One("one", nil, blue.addr)
	objects.Endpoints[0].Spec.MirrorTraffic = map[string]int32{"green": 100}
	objects.Deployments = append(objects.Deployments, routertest.Deployment("one", "green"))
	objects.Slices = append(objects.Slices, routertest.Slices("one", "green", green.addr)...)
	r := start(t, objects, nil)
	ask(t, r, "POST", score, "body").want(t, 200, "POST /score body")
	if got := <-seen; got != "green" {
		t.Errorf("the copy went to %q", got)
	}
	a, err := try(t.Context(), over2(t), "http://"+r.HTTP, "POST", score, strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	a.want(t, 200, "POST /score body")
	select {
	case got := <-seen:
		if got != "green" {
			t.Errorf("the copy of a request over HTTP/2 went to %q", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("there is no copy of a request over HTTP/2")
	}
}

func TestModelErrors(t *testing.T) {
	model := serveModel(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "division by zero", 500) })
	r := start(t, routertest.One("one", nil, model.addr), nil)
	a := ask(t, r, "POST", score, "")
	a.want(t, 502, "division by zero")
	if a.header.Get("ms-azureml-model-error-statuscode") != "500" {
		t.Errorf("headers %v", a.header)
	}
	ask(t, r, "POST", "/api/v1/endpoint/one/other", "").want(t, 500, "division by zero")
}

func TestCORS(t *testing.T) {
	model := serveModel(t, echo)
	objects := routertest.One("one", nil, model.addr)
	off := start(t, objects, nil)
	if a := ask(t, off, "OPTIONS", score, "", "Origin", "https://a", "Access-Control-Request-Method", "POST", "Authorization", ""); a.status != 401 || a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("off: %d %v", a.status, a.header)
	}
	on := start(t, objects, func(c *Config) { c.Origins = []string{"https://a"} })
	a := ask(t, on, "OPTIONS", score, "", "Origin", "https://a", "Access-Control-Request-Method", "POST", "Authorization", "")
	if a.status != 204 || a.header.Get("Access-Control-Allow-Origin") != "https://a" || !strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("preflight: %d %v", a.status, a.header)
	}
	if a := ask(t, on, "POST", score, "", "Origin", "https://a"); a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != "https://a" {
		t.Errorf("request: %d %v", a.status, a.header)
	}
	if a := ask(t, on, "POST", score, "", "Origin", "https://b"); a.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another origin: %v", a.header)
	}
}

func TestLimitsOfBodies(t *testing.T) {
	model := serveModel(t, echo)
	r := start(t, routertest.One("one", nil, model.addr), func(c *Config) { c.MaxBody = 10 })
	ask(t, r, "POST", score, "0123456789").want(t, 200, "0123456789")
	ask(t, r, "POST", score, "0123456789x").want(t, 413, `"code":"RequestTooLarge"`)
	req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://"+r.HTTP+score, struct{ *strings.Reader }{strings.NewReader(strings.Repeat("x", 100000))})
	req.ContentLength = -1 // chunked
	req.Header.Set("Authorization", "Bearer "+routertest.Key("one"))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != 413 {
		t.Errorf("a chunked body that is too large: %s", res.Status)
	}
}
