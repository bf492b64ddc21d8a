package main

import (
	"context"
	"errors"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/cluster/agentinstall"
	"fairlead.dev/fairlead/internal/controlplane/types"
)

// managed reaches managed clusters with Helm, for the control plane.
type managed struct{}

// Inspect implements types.Installer.
func (managed) Inspect(ctx context.Context, kubeconfig []byte) (types.ManagedFacts, error) {
	f, err := agentinstall.Inspect(ctx, agentinstall.Options{KubeconfigData: kubeconfig})
	return types.ManagedFacts(f), err
}

// Install implements types.Installer.
func (managed) Install(ctx context.Context, kubeconfig []byte, a types.ManagedAgent) error {
	err := agentinstall.Install(ctx, agentinstall.Options{
		KubeconfigData: kubeconfig, Endpoint: a.Endpoint, CA: a.CA, ClusterID: a.ClusterID, TenantID: a.TenantID, PrivateKeyPEM: a.PrivateKeyPEM,
		Proxy:      &agentinstall.Proxy{HTTPS: a.HTTPSProxy, HTTP: a.HTTPProxy, SkipRange: a.ProxySkipRange, Cert: a.ProxyCert},
		AgentImage: a.AgentImage, RouterImage: a.RouterImage, RuntimeImage: a.RuntimeImage, PullSecret: a.PullSecret, NoWait: true,
	})
	if taken, ok := errors.AsType[*agentinstall.TakenError](err); ok {
		return arm.Errorf(409, "ClusterAlreadyConnected", "The Kubernetes cluster cannot be registered: %v.", taken)
	}
	return err
}

// Explain implements types.Installer.
func (managed) Explain(ctx context.Context, kubeconfig []byte) error {
	return agentinstall.Explain(ctx, agentinstall.Options{KubeconfigData: kubeconfig})
}

// Uninstall implements types.Installer.
func (managed) Uninstall(ctx context.Context, kubeconfig []byte, clusterID string) error {
	return agentinstall.Uninstall(ctx, agentinstall.Options{KubeconfigData: kubeconfig, ClusterID: clusterID, NoWait: true})
}
