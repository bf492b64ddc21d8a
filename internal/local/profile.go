package local

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
)

// Profile is what a command line needs to talk to the control plane as its first administrator.
type Profile struct {
	Endpoint       string // public URL
	CAFile         string
	TenantID       string
	ClientID       string
	ClientSecret   string
	SubscriptionID string
	// Kubeconfig reaches the cluster that the control plane was started with.
	Kubeconfig string
}

// OnReady, if set, is called by `fairlead up` when the control plane serves, so that the command line is logged in. It is
// called at every `up` and must be idempotent.
var OnReady func(ctx context.Context, p Profile) error

// readProfile takes the credentials that the server wrote for its first administrator.
func readProfile(f Folder, c Config) (Profile, error) {
	p := Profile{Endpoint: c.URL(), Kubeconfig: f.Kubeconfig()}
	if c.External() {
		p.Kubeconfig = c.Kubeconfig
	}
	data, err := os.ReadFile(f.Path("server", "admin.json"))
	if err != nil {
		return p, fmt.Errorf("reading the administrator's credentials: %w", err)
	}
	var admin struct {
		TenantID       string `json:"tenantId"`
		ClientID       string `json:"clientId"`
		ClientSecret   string `json:"clientSecret"`
		SubscriptionID string `json:"subscriptionId"`
		CAFile         string `json:"caFile"`
	}
	if err := json.Unmarshal(data, &admin); err != nil {
		return p, fmt.Errorf("reading the administrator's credentials: %w", err)
	}
	p.TenantID, p.SubscriptionID, p.CAFile = admin.TenantID, admin.SubscriptionID, admin.CAFile
	p.ClientID, p.ClientSecret = admin.ClientID, admin.ClientSecret
	return p, nil
}
