// Package helm installs charts. It is the only importer of the Helm SDK; what it offers is what an extension manager needs:
// the newest release of a name, and install, upgrade, roll back and uninstall of it. Actions apply and return; they do
// not wait for pods, so that the caller can look at what hinders them before anything is taken away again.
package helm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/kube"
	"helm.sh/helm/v4/pkg/release/common"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage/driver"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	corev1 "k8s.io/api/core/v1"
)

// Labels of a revision.
const (
	// labelChart says which chart it was made from.
	labelChart = "fairlead.dev/chart"
	// labelUnverified says that nobody has seen it work. Helm calls a revision deployed when it is applied.
	labelUnverified = "fairlead.dev/unverified"
)

// Statuses of a Release, as Helm names them.
const (
	StatusDeployed     = string(common.StatusDeployed)
	StatusFailed       = string(common.StatusFailed)
	StatusUninstalling = string(common.StatusUninstalling)
	StatusUninstalled  = string(common.StatusUninstalled)
	StatusInstalling   = string(common.StatusPendingInstall)
	StatusUpgrading    = string(common.StatusPendingUpgrade)
	StatusRollingBack  = string(common.StatusPendingRollback)
)

// Client acts on the releases of one cluster. Two actions on one release must not run at once.
type Client struct {
	config *rest.Config
	log    *slog.Logger
}

// New makes a Client.
func New(config *rest.Config, log *slog.Logger) *Client {
	return &Client{config: config, log: log}
}

// Release is the newest revision of a release.
type Release struct {
	Namespace, Name string
	Revision        int
	Status          string
	ChartVersion    string
	Labels          map[string]string
	// Values are those that the revision was made with, without the chart's own.
	Values map[string]any
	// Unverified says that the newest revision was made so and not verified since.
	Unverified bool
	// DeployedBefore says that a revision was deployed once and is not unverified, so that there is something to roll back to.
	DeployedBefore bool
	// Updated is when the newest revision was made.
	Updated time.Time
	// running is the newest revision that was deployed once and is not unverified, or, when there is none, the newest.
	running *releasev1.Release
}

// Request is a release to make.
type Request struct {
	Namespace, Name string
	Chart           *Chart
	Values          map[string]any
	// Labels are kept with the release; see Release.Labels.
	Labels map[string]string
	// Unverified says that the revision counts as deployed only when Verified was called.
	Unverified bool
	// CreateNamespace makes the namespace when it is absent (Install only).
	CreateNamespace bool
}

// labels are the request's and that of its chart.
func (r Request) labels() map[string]string {
	out := map[string]string{labelChart: r.Chart.digest}
	maps.Copy(out, r.Labels)
	if r.Unverified {
		out[labelUnverified] = "true"
	}
	return out
}

// Last returns the newest revision of a release, or nil when there is none.
func (c *Client) Last(namespace, name string) (*Release, error) {
	cfg, err := c.configuration(namespace)
	if err != nil {
		return nil, err
	}
	history, err := revisions(cfg, namespace, name)
	if err != nil || len(history) == 0 {
		return nil, err
	}
	last, good := newest(history, anyOf), newest(history, wasGood)
	return &Release{
		Namespace: last.Namespace, Name: last.Name, Revision: last.Version, Status: string(last.Info.Status),
		ChartVersion: last.Chart.Metadata.Version, Labels: last.Labels, Values: last.Config, Updated: last.Info.LastDeployed,
		Unverified: unverified(last), DeployedBefore: good != nil, running: cmp.Or(good, last),
	}, nil
}

// Find returns namespace and name of every release whose labels include the given key, by that label's value.
func (c *Client) Find(ctx context.Context, label string) (map[string]Ref, error) {
	client, err := metadata.NewForConfig(c.config)
	if err != nil {
		return nil, fmt.Errorf("listing releases: %w", err)
	}
	list, err := client.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).List(ctx, metav1.ListOptions{LabelSelector: "owner=helm," + label})
	if err != nil {
		return nil, fmt.Errorf("listing releases: %w", err)
	}
	refs := map[string]Ref{}
	for _, s := range list.Items {
		refs[s.Labels[label]] = Ref{Namespace: s.Namespace, Name: s.Labels["name"]}
	}
	return refs, nil
}

// Ref names a release.
type Ref struct{ Namespace, Name string }

// Install applies the chart's custom resource definitions, then makes revision 1. Objects of the chart that exist already
// (from an installation that lost its release record) become the release's.
func (c *Client) Install(ctx context.Context, r Request) error {
	if err := c.applyCRDs(ctx, r.Chart); err != nil {
		return err
	}
	cfg, err := c.configuration(r.Namespace)
	if err != nil {
		return err
	}
	chart, err := r.Chart.load()
	if err != nil {
		return err
	}
	install := action.NewInstall(cfg)
	install.Namespace, install.ReleaseName, install.Labels = r.Namespace, r.Name, r.labels()
	install.CreateNamespace = r.CreateNamespace
	install.SkipCRDs = true // applied above
	install.WaitStrategy = kube.HookOnlyStrategy
	install.Timeout = actionTimeout
	install.ForceConflicts, install.TakeOwnership = true, true
	_, err = install.RunWithContext(ctx, chart, r.Values)
	return err
}

// Upgrade applies the chart's custom resource definitions, then makes the next revision with exactly the given values.
func (c *Client) Upgrade(ctx context.Context, r Request) error {
	if err := c.applyCRDs(ctx, r.Chart); err != nil {
		return err
	}
	cfg, err := c.configuration(r.Namespace)
	if err != nil {
		return err
	}
	chart, err := r.Chart.load()
	if err != nil {
		return err
	}
	if err := prune(cfg, r.Namespace, r.Name); err != nil {
		return err
	}
	upgrade := action.NewUpgrade(cfg)
	upgrade.Namespace, upgrade.Labels = r.Namespace, r.labels()
	upgrade.SkipCRDs, upgrade.ResetValues = true, true
	upgrade.WaitStrategy = kube.HookOnlyStrategy
	upgrade.Timeout, upgrade.MaxHistory = actionTimeout, maxHistory
	upgrade.ServerSideApply, upgrade.ForceConflicts, upgrade.TakeOwnership = "true", true, true
	_, err = upgrade.RunWithContext(ctx, r.Name, chart, r.Values)
	return err
}

// Rollback makes a new revision equal to the last one that was deployed, and is not unverified, before the newest.
func (c *Client) Rollback(namespace, name string) error {
	cfg, err := c.configuration(namespace)
	if err != nil {
		return err
	}
	if err := prune(cfg, namespace, name); err != nil {
		return err
	}
	history, err := revisions(cfg, namespace, name)
	if err != nil {
		return err
	}
	target := goodBeforeNewest(history)
	if target == nil {
		return fmt.Errorf("rolling back release %s/%s: no earlier revision was ever deployed", namespace, name)
	}
	rollback := action.NewRollback(cfg)
	rollback.Version, rollback.Timeout, rollback.MaxHistory = target.Version, actionTimeout, maxHistory
	rollback.WaitStrategy = kube.HookOnlyStrategy
	rollback.ServerSideApply, rollback.ForceConflicts, rollback.CleanupOnFail = "true", true, true
	return rollback.Run(name)
}

// Uninstall deletes the release's objects and its history; a release that is not there is no error.
func (c *Client) Uninstall(namespace, name string) error {
	cfg, err := c.configuration(namespace)
	if err != nil {
		return err
	}
	uninstall := action.NewUninstall(cfg)
	uninstall.IgnoreNotFound, uninstall.Timeout = true, actionTimeout
	uninstall.WaitStrategy = kube.HookOnlyStrategy
	uninstall.DeletionPropagation = "background"
	_, err = uninstall.Run(name)
	if errors.Is(err, driver.ErrReleaseNotFound) {
		return nil
	}
	return err
}

// SetStatus rewrites the status of the newest revision: one that was left pending by a process that died in the middle of it
// must be called failed before Helm upgrades it.
func (c *Client) SetStatus(namespace, name, status string) error {
	return c.rewrite(namespace, name, func(r *releasev1.Release) { r.SetStatus(common.Status(status), "status set after an interruption") })
}

// Verified says that the newest revision works.
func (c *Client) Verified(namespace, name string) error {
	return c.rewrite(namespace, name, func(r *releasev1.Release) { delete(r.Labels, labelUnverified) })
}

// rewrite changes the record of the newest revision.
func (c *Client) rewrite(namespace, name string, change func(*releasev1.Release)) error {
	cfg, err := c.configuration(namespace)
	if err != nil {
		return err
	}
	last, err := cfg.Releases.Last(name)
	if err != nil {
		return fmt.Errorf("reading release %s/%s: %w", namespace, name, err)
	}
	rel := last.(*releasev1.Release)
	change(rel)
	if err := cfg.Releases.Update(rel); err != nil {
		return fmt.Errorf("writing release %s/%s: %w", namespace, name, err)
	}
	return nil
}

// actionTimeout bounds one action's requests and hooks.
const actionTimeout = 5 * time.Minute

func (c *Client) configuration(namespace string) (*action.Configuration, error) {
	g, err := newGetter(c.config, namespace)
	if err != nil {
		return nil, fmt.Errorf("making a Helm client: %w", err)
	}
	cfg := action.NewConfiguration(action.ConfigurationSetLogger(c.log.Handler()))
	if err := cfg.Init(g, namespace, "secret"); err != nil {
		return nil, fmt.Errorf("making a Helm client: %w", err)
	}
	return cfg, nil
}
