package history

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// Clients ask where the outputs of a run are, by the ids that its history gives them.
func TestResolvedAssets(t *testing.T) {
	w := newWorld(t)
	const data = "/data/v1.0" + wsPath + "/dataversion/batchGetResolvedUris"
	for name, c := range map[string]struct {
		path, token, body string
		status            int
		want              string
	}{
		"data":            {data, "user", `{"values":["azureml://y"]}`, 200, `{"values":{"azureml://y":{"uri":"azureml://y"}}}`},
		"another id":      {data, "user", `{"values":["m:1"]}`, 400, `is not the assetId of an output`},
		"no JSON":         {data, "user", `[`, 400, "The body is not"},
		"nobody":          {data, "", `{"values":[]}`, 401, "InvalidAuthenticationToken"},
		"a run":           {data, "run", `{"values":[]}`, 403, "AuthorizationFailed"},
		"something else":  {"/data/v1.0/x", "user", `{}`, 404, "There is no such operation"},
		"another service": {strings.Replace(data, "MachineLearningServices", "Other", 1), "user", `{}`, 404, "found in the path where"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.srv.URL+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if c.token != "" {
				req.Header.Set("Authorization", "Bearer "+c.token)
			}
			res, err := w.srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			raw, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != c.status || !strings.Contains(string(raw), c.want) {
				t.Errorf("%d %s %v, want %d %s", res.StatusCode, raw, err, c.status, c.want)
			}
		})
	}
}
