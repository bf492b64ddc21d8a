// Package agent is the cluster's representative in namespace azure-arc. It proves the cluster's identity with its private key,
// sends the heartbeat, keeps the tokens of extensions' components fresh, and runs the extension manager over the desired
// extensions. Everything it does survives its own restart: what it must remember is in the cluster.
package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/charts"
	"fairlead.dev/fairlead/internal/cluster/component"
	"fairlead.dev/fairlead/internal/cluster/connect"
	"fairlead.dev/fairlead/internal/cluster/desired"
	"fairlead.dev/fairlead/internal/cluster/extension"
	"fairlead.dev/fairlead/internal/cluster/extension/helm"
	"fairlead.dev/fairlead/internal/link"
)

// Namespace is the agent's own, and its Helm release's name.
const Namespace = v1alpha1.AgentNamespace

// Version is the agent's version; the linker sets it.
var Version = "0.1.0"

// Config is what an agent needs.
type Config struct {
	Kube *rest.Config
	// Endpoint, Tenant and ClusterID say who the cluster is and where its control plane is; CA (PEM) may be empty.
	Endpoint, Tenant, ClusterID string
	CA                          []byte
	PrivateKeyPEM               []byte
	// Namespace is the agent's own; empty means azure-arc.
	Namespace string
	// AgentImage, RouterImage, RuntimeImage, PullPolicy and PullSecret are given to extensions' charts.
	AgentImage, RouterImage, RuntimeImage, PullPolicy, PullSecret string
	// SkipRange and ProxyCert, the PEM of the proxy's CA, are passed to extensions with the proxy of the agent's own environment.
	SkipRange string
	ProxyCert []byte
	// ConnectAccount is the service account, in Namespace, that may impersonate the callers of `connectedk8s proxy`; empty turns
	// that off.
	ConnectAccount string
	// ExtensionTimeout bounds how long an extension's pods may take to become ready; 0 means 5 minutes.
	ExtensionTimeout time.Duration
	Log              *slog.Logger
}

// ReadConfig fills a Config from the files of ConfigMap azure-clusterconfig, the private key's file and the environment.
func ReadConfig(dir, keyFile string) (Config, error) {
	c := Config{
		Namespace: os.Getenv("POD_NAMESPACE"), AgentImage: os.Getenv("FAIRLEAD_AGENT_IMAGE"), RuntimeImage: os.Getenv("FAIRLEAD_RUNTIME_IMAGE"),
		RouterImage: os.Getenv("FAIRLEAD_ROUTER_IMAGE"),
		PullPolicy:  os.Getenv("FAIRLEAD_PULL_POLICY"), PullSecret: os.Getenv("FAIRLEAD_PULL_SECRET"), SkipRange: os.Getenv("FAIRLEAD_SKIP_RANGE"),
		ConnectAccount: os.Getenv("FAIRLEAD_CONNECT_ACCOUNT"),
	}
	if text := os.Getenv("FAIRLEAD_EXTENSION_TIMEOUT"); text != "" {
		var err error
		if c.ExtensionTimeout, err = time.ParseDuration(text); err != nil {
			return c, fmt.Errorf("FAIRLEAD_EXTENSION_TIMEOUT %q is not a duration such as 5m", text)
		}
	}
	for name, field := range map[string]*string{"endpoint": &c.Endpoint, "tenantId": &c.Tenant, "clusterId": &c.ClusterID} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return c, fmt.Errorf("reading the cluster's configuration: %w", err)
		}
		*field = strings.TrimSpace(string(data))
	}
	var err error
	if c.CA, err = os.ReadFile(filepath.Join(dir, "ca.crt")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("reading the CA bundle: %w", err)
	}
	if c.ProxyCert, err = os.ReadFile(filepath.Join(dir, "proxy.crt")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("reading the proxy's CA: %w", err)
	}
	if c.PrivateKeyPEM, err = os.ReadFile(keyFile); err != nil {
		return c, fmt.Errorf("reading the cluster's private key: %w", err)
	}
	return c, nil
}

// Run works until ctx ends, whose error it returns.
func Run(ctx context.Context, cfg Config) error {
	key, err := ParseKey(cfg.PrivateKeyPEM)
	if err != nil {
		return err
	}
	issuer, err := NewIssuer(cfg.Endpoint, cfg.Tenant, cfg.ClusterID, key, cfg.CA, nil)
	if err != nil {
		return err
	}
	kube, err := kubernetes.NewForConfig(cfg.Kube)
	if err != nil {
		return fmt.Errorf("making a Kubernetes client: %w", err)
	}
	broker := &Broker{kube: kube, fetch: issuer.Fetch, endpoint: cfg.Endpoint, ca: cfg.CA, clock: time.Now, log: cfg.Log}
	client, err := newClient(cfg, issuer, broker)
	if err != nil {
		return err
	}
	observer := link.NewObserver(client)
	manager, err := newManager(cfg, kube, issuer, broker, observer)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return observer.Run(ctx) })
	group.Go(func() error { return broker.Run(ctx) })
	group.Go(func() error { return heartbeat(ctx, kube, link.KeyID(&key.PublicKey), observer.Set, cfg.Log) })
	group.Go(func() error { return manager.Run(ctx) })
	group.Go(func() error { return serveConnect(ctx, cfg, kube, client) })
	group.Go(func() error {
		return client.Follow(ctx, link.PrefixExtension, desired.NewFollower(handler(manager, cfg.Log)).Apply)
	})
	return group.Wait()
}

// newClient makes the agent's link. A token that the control plane refuses takes those of the extensions with it.
func newClient(cfg Config, issuer *Issuer, broker *Broker) (*link.Client, error) {
	refused := func(token string) {
		if issuer.Forget(token) {
			broker.Distrust()
		}
	}
	return link.NewClient(link.Config{Endpoint: cfg.Endpoint, CA: cfg.CA, TokenSource: issuer.Token, Refused: refused, Log: cfg.Log})
}

// serveConnect keeps the relay open through which callers reach the API server.
func serveConnect(ctx context.Context, cfg Config, kube kubernetes.Interface, client *link.Client) error {
	if cfg.ConnectAccount == "" {
		<-ctx.Done()
		return ctx.Err()
	}
	server, err := connect.New(cfg.Kube, connect.AccountToken(kube, cmp.Or(cfg.Namespace, Namespace), cfg.ConnectAccount), cfg.Log)
	if err != nil {
		return err
	}
	return link.ServeRelay(ctx, client, server.Handle)
}

func newManager(cfg Config, kube kubernetes.Interface, issuer *Issuer, broker *Broker, observer *link.Observer) (*extension.Manager, error) {
	chart, err := helm.LoadChart(charts.FS, charts.AzureML)
	if err != nil {
		return nil, err
	}
	if cfg.Namespace == "" {
		cfg.Namespace = Namespace
	}
	if cfg.ExtensionTimeout == 0 {
		cfg.ExtensionTimeout = 5 * time.Minute
	}
	objects, err := metadata.NewForConfig(cfg.Kube)
	if err != nil {
		return nil, fmt.Errorf("making a Kubernetes client: %w", err)
	}
	return extension.New(extension.Config{
		Kube: kube, Metadata: objects, Reach: issuer.Reach, ClusterID: cfg.ClusterID, Helm: helm.New(cfg.Kube, cfg.Log), Namespace: cfg.Namespace,
		Charts:   map[string]*helm.Chart{"microsoft.azureml.kubernetes": chart},
		Values:   chartValues(cfg, os.Getenv),
		Deadline: cfg.ExtensionTimeout,
		Prepare:  broker.Prepare, Forget: broker.Forget,
		Report: func(name string, status link.ExtensionStatus) {
			if err := observer.Set(link.PrefixExtension+name, status); err != nil {
				cfg.Log.Error("posting an extension's status", "extension", name, "error", err)
			}
		},
		Log: cfg.Log,
	}), nil
}

// chartValues are what every extension's chart is given by the agent.
func chartValues(cfg Config, env func(string) string) map[string]any {
	image := map[string]any{}
	for key, value := range map[string]string{
		"agent": cfg.AgentImage, "router": cfg.RouterImage, "runtime": cfg.RuntimeImage, "pullPolicy": cfg.PullPolicy, "pullSecret": cfg.PullSecret,
	} {
		if value != "" {
			image[key] = value
		}
	}
	return map[string]any{
		"image":      image,
		"linkSecret": component.LinkSecret,
		"proxy":      map[string]any{"https": env("HTTPS_PROXY"), "http": env("HTTP_PROXY"), "skipRange": cfg.SkipRange, "cert": string(cfg.ProxyCert)},
	}
}

// handler gives the manager what the control plane desires.
func handler(m *extension.Manager, log *slog.Logger) desired.Handler {
	return desired.Handler{
		Put: func(key string, value json.RawMessage) error {
			var ext link.Extension
			if err := json.Unmarshal(value, &ext); err != nil { // delivering it again would not make it better
				log.Error("ignoring a desired extension that cannot be read", "key", key, "error", err)
				return nil
			}
			ext.Name = strings.TrimPrefix(key, link.PrefixExtension)
			m.Put(ext)
			return nil
		},
		Delete: func(key string) error {
			m.Delete(strings.TrimPrefix(key, link.PrefixExtension))
			return nil
		},
		Synced: func() error {
			m.Synced()
			return nil
		},
	}
}
