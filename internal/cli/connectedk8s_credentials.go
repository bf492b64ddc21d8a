package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd/api"
)

const execAPIVersion = "client.authentication.k8s.io/v1"

func (a *app) connectedk8sGetCredentials() *cobra.Command {
	var f accessFlags
	c := a.leaf(&cobra.Command{
		Use: "get-credentials", Short: "Add a connected cluster to the kubeconfig, for good",
		Long: `Adds a context for the cluster to the kubeconfig that goes straight to the control plane; kubectl asks this program for
a token when it needs one. No process keeps running and no secret is written. The rights are those of 'connectedk8s proxy'.`,
		Example: "  fairlead connectedk8s get-credentials -n C -g G\n  kubectl --context C get nodes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, entry, err := a.access(cmd.Context(), &f)
			if err != nil {
				return err
			}
			if entry.Auth, err = a.execAuth(s.Endpoint()); err != nil {
				return err
			}
			_, err = a.deliver(entry, f.file)
			return err
		},
	})
	a.addAccess(c, &f)
	return c
}

// execAuth makes kubectl run this program, with the login that is used now.
func (a *app) execAuth(endpoint string) (*api.AuthInfo, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	x := &api.ExecConfig{APIVersion: execAPIVersion, Command: exe, Args: []string{"connectedk8s", "credential", "--endpoint", endpoint},
		InteractiveMode: api.NeverExecInteractiveMode, InstallHint: "fairlead, the command line of the control plane at " + endpoint + ", is not where it was"}
	if dir := a.deps.Env("FAIRLEAD_CONFIG_DIR"); dir != "" {
		x.Env = []api.ExecEnvVar{{Name: "FAIRLEAD_CONFIG_DIR", Value: dir}}
	}
	return &api.AuthInfo{Exec: x}, nil
}

// connectedk8sCredential is what kubectl runs: it prints the login's token.
func (a *app) connectedk8sCredential() *cobra.Command {
	var endpoint string
	c := a.leaf(&cobra.Command{
		Use: "credential", Short: "Print a token in the form that kubectl asks for", Hidden: true,
		Example: "  fairlead connectedk8s credential",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.connect()
			if err != nil {
				return err
			}
			if endpoint != "" && !strings.EqualFold(strings.TrimRight(endpoint, "/"), s.Endpoint()) {
				return hint(fmt.Errorf("this kubeconfig is for the control plane at %s, the login is at %s", endpoint, s.Endpoint()),
					"Log in there, or run 'fairlead connectedk8s get-credentials' again.")
			}
			if _, err := s.token(cmd.Context(), false); err != nil {
				return err
			}
			t, _ := s.store.Token(s.profile)
			return json.NewEncoder(a.deps.Stdout).Encode(map[string]any{"apiVersion": execAPIVersion, "kind": "ExecCredential",
				"status": map[string]any{"token": t.AccessToken, "expirationTimestamp": t.ExpiresOn.Add(-time.Minute).UTC().Format(time.RFC3339)}})
		},
	})
	c.Flags().StringVar(&endpoint, "endpoint", "", "`address` that the token is for; another login's is not given")
	return c
}
