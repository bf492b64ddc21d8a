package runtime

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/api/commonruntime"
)

// commandEnviron is the environment of one process: what the container has, then the spec's, then what only the runtime knows.
func commandEnviron(c Config, s commonruntime.JobSpec, p prepared, extra map[string]string) []string {
	env := maps.Clone(p.trust) // what the image or the user says of CAs counts
	if env == nil {
		env = make(map[string]string)
	}
	for _, kv := range c.Environ {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	maps.Copy(env, s.Environment)
	maps.Copy(env, map[string]string{
		"AZUREML_CR_EXECUTION_WORKING_DIR_PATH": c.codeDir(),
		"AZUREML_CR_HT_CAP_user_logs_PATH":      filepath.Join(c.filesDir(), "user_logs"),
		"AZUREML_CR_HT_CAP_azureml_logs_PATH":   filepath.Join(c.filesDir(), "azureml-logs"),
		"AZUREML_CR_HT_CAP_outputs_PATH":        filepath.Join(c.codeDir(), "outputs"),
		"AZUREML_CR_HT_CAP_logs_PATH":           filepath.Join(c.codeDir(), "logs"),
	})
	maps.Copy(env, p.identity)
	maps.Copy(env, p.tracking)
	if p.token != "" {
		env["AZUREML_RUN_TOKEN"] = p.token
		if expiry := tokenExpiry(p.token); expiry > 0 {
			env["AZUREML_RUN_TOKEN_EXPIRY"] = strconv.FormatInt(expiry, 10)
		}
	}
	for name, v := range p.inputs {
		env["AZURE_ML_INPUT_"+name], env["AZUREML_DATAREFERENCE_"+name] = v, v
		if s.Inputs[name].Type == "literal" {
			delete(env, "AZUREML_DATAREFERENCE_"+name)
			env["AZUREML_PARAMETER_"+name] = v
		}
	}
	for name, v := range p.outputs {
		env["AZURE_ML_OUTPUT_"+name], env["AZUREML_DATAREFERENCE_"+name] = v, v
	}
	maps.Copy(env, extra)
	reachLoopback(env)
	out := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		out = append(out, k+"="+env[k])
	}
	return out
}

// reachLoopback keeps clients that use a proxy from asking it for this pod's own servers.
func reachLoopback(env map[string]string) {
	proxied := slices.ContainsFunc([]string{"HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"}, func(name string) bool { return env[name] != "" })
	if !proxied {
		return
	}
	if env["NO_PROXY"] == "" && env["no_proxy"] == "" {
		env["NO_PROXY"] = "127.0.0.1"
	}
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		if v := env[name]; v != "" && !slices.Contains(strings.Split(v, ","), "127.0.0.1") {
			env[name] = v + ",127.0.0.1"
		}
	}
}

// tokenExpiry is when a JSON web token ends, in seconds since 1970; 0 when it does not say.
func tokenExpiry(token string) int64 {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return 0
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return 0
	}
	var claims struct {
		Expires int64 `json:"exp"`
	}
	if json.Unmarshal(b, &claims) != nil {
		return 0
	}
	return claims.Expires
}
