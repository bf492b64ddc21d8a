package types

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/hybridkubernetes"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
)

// userCredential answers with a kubeconfig that holds no secret: it reaches the cluster through the control plane, with a token that
// kubectl asks the command line for.
func (d Deps) userCredential(_ context.Context, a *resource.Call) (any, error) {
	var q hybridkubernetes.ListClusterUserCredentialProperties
	if len(a.Body) > 0 {
		if err := json.Unmarshal(a.Body, &q); err != nil {
			return nil, arm.Invalid("", "The body must be {\"authenticationMethod\": \"AAD\", \"clientProxy\": true|false}: %v.", err)
		}
	}
	if q.AuthenticationMethod != "" {
		if _, err := enum("authenticationMethod", q.AuthenticationMethod, hybridkubernetes.AuthenticationAAD); err != nil {
			return nil, err
		}
	}
	name := "Kubeconfig"
	if a.Record.Type == clusterstate.ManagedType {
		name = "clusterUser"
	}
	path := hybridkubernetes.ConnectPath + a.Record.ID
	config, err := yaml.Marshal(d.kubeconfig(a.Record.Name, a.ID.ResourceGroup, d.PublicURL+path))
	if err != nil {
		return nil, fmt.Errorf("encoding kubeconfig of %s: %w", a.Record.Name, err)
	}
	out := hybridkubernetes.CredentialResults{Kubeconfigs: []hybridkubernetes.CredentialResult{{Name: name, Value: config}}}
	if q.ClientProxy {
		out.HybridConnectionConfig = &hybridkubernetes.HybridConnectionConfig{Relay: d.host(), HybridConnectionName: path}
		if !a.Principal.Expires.IsZero() {
			out.HybridConnectionConfig.ExpirationTime = a.Principal.Expires.Unix()
		}
	}
	return out, nil
}

func (d Deps) kubeconfig(name, group, server string) map[string]any {
	cluster := map[string]any{"server": server}
	if d.CA != "" {
		cluster["certificate-authority-data"] = base64.StdEncoding.EncodeToString([]byte(d.CA))
	}
	user := "clusterUser_" + group + "_" + name
	return map[string]any{
		"apiVersion": "v1", "kind": "Config", "preferences": map[string]any{}, "current-context": name,
		"clusters": []any{map[string]any{"name": name, "cluster": cluster}},
		"contexts": []any{map[string]any{"name": name, "context": map[string]any{"cluster": name, "user": user}}},
		"users": []any{map[string]any{"name": user, "user": map[string]any{"exec": map[string]any{
			"apiVersion": "client.authentication.k8s.io/v1", "command": "fairlead", "interactiveMode": "Never", "provideClusterInfo": false,
			"args": []any{"connectedk8s", "credential", "--endpoint", d.PublicURL}, "installHint": "fairlead is the command line of the control plane at " + d.PublicURL,
		}}}},
	}
}
