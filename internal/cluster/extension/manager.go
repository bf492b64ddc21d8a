// Package extension installs, upgrades and removes extensions as the control plane desires them.
//
//	desired extension/<name> ──▶ Manager ──▶ Helm release <name> in the release namespace
//	                               │ waits for the release's pods, and knows why they do not start
//	observed extension/<name> ◀────┘ Pending → Installed | Failed, and Removed
//
// The manager is level-triggered: it looks at the release in the cluster and at what it reported last, decides by a pure
// function (plan) and acts. Before a chart is applied package preflight looks at the cluster. An installation is atomic: what does not become ready is taken away again (an upgrade is rolled
// back), after the true reason was read from pods and their output.
package extension

import (
	"context"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/util/workqueue"

	"fairlead.dev/fairlead/internal/cluster/extension/helm"
	"fairlead.dev/fairlead/internal/link"
)

// Labels of a release's record.
const (
	labelName       = "fairlead.dev/extension"
	labelGeneration = "fairlead.dev/generation"
	labelDigest     = "fairlead.dev/digest"
)

// DefaultNamespace is the release namespace of an extension that names none.
const DefaultNamespace = "azureml"

// workers is how many extensions are worked on at once.
const workers = 4

// Config is what a Manager needs.
type Config struct {
	Kube     kubernetes.Interface
	Metadata metadata.Interface
	Helm     *helm.Client
	// Namespace is the agent's own; the manager keeps ConfigMap fairlead-extensions there.
	Namespace string
	// Charts by extension type in lower case.
	Charts map[string]*helm.Chart
	// Values are given to every chart, below the extension's settings.
	Values map[string]any
	// Deadline bounds how long a release's pods may take to become ready.
	Deadline time.Duration
	// Prepare makes the release namespace and what the extension's components need to reach the control plane; it is called
	// before every install and upgrade, and an error is retried. Forget takes that away after an uninstall.
	Prepare, Forget func(ctx context.Context, namespace string) error
	// Reach asks the control plane for an answer and says how far its clock is ahead; nil leaves that unchecked.
	Reach func(ctx context.Context) (ahead time.Duration, err error)
	// ClusterID is the cluster's resource id, for commands that name it.
	ClusterID string
	// Report is called with every new status of an extension; it must not block.
	Report func(name string, status link.ExtensionStatus)
	Log    *slog.Logger
}

// Manager reconciles extensions. Its methods may be called by several goroutines.
type Manager struct {
	cfg     Config
	records records
	wait    waiter
	queue   workqueue.TypedRateLimitingInterface[string]

	mu      sync.Mutex
	desired map[string]link.Extension
	synced  bool
	cancels map[string]context.CancelFunc
}

// New makes a Manager; Run starts it.
func New(cfg Config) *Manager {
	limit := workqueue.NewTypedItemExponentialFailureRateLimiter[string](time.Second, time.Minute)
	return &Manager{
		cfg:     cfg,
		records: records{kube: cfg.Kube, namespace: cfg.Namespace},
		wait:    waiter{kube: cfg.Kube, deadline: cfg.Deadline},
		queue:   workqueue.NewTypedRateLimitingQueue(limit),
		desired: map[string]link.Extension{},
		cancels: map[string]context.CancelFunc{},
	}
}

// Put makes an extension desired as given. The same wish again, as after a reconnect, disturbs nothing.
func (m *Manager) Put(ext link.Extension) {
	m.mu.Lock()
	if !reflect.DeepEqual(m.desired[ext.Name], ext) {
		m.desired[ext.Name] = ext
		m.interrupt(ext.Name)
	}
	m.mu.Unlock()
	m.queue.Add(ext.Name)
}

// Delete makes an extension not desired.
func (m *Manager) Delete(name string) {
	m.mu.Lock()
	delete(m.desired, name)
	m.interrupt(name)
	m.mu.Unlock()
	m.queue.Add(name)
}

// Synced says that every desired extension has been Put: from now on a release that is not desired is removed.
func (m *Manager) Synced() {
	m.mu.Lock()
	first := !m.synced
	m.synced = true
	m.mu.Unlock()
	if first {
		m.queue.Add("") // looks for releases that nobody wants
	}
}

// interrupt ends a wait for pods that a newer wish has overtaken. Actions on the release itself are never interrupted.
func (m *Manager) interrupt(name string) {
	if cancel := m.cancels[name]; cancel != nil {
		cancel()
	}
}

// Run works until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	if err := m.records.load(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		<-ctx.Done()
		m.queue.ShutDown()
		return nil
	})
	group.Go(func() error {
		m.removeLost(ctx)
		return nil
	})
	for range workers {
		group.Go(func() error {
			for m.next(ctx) {
			}
			return nil
		})
	}
	return group.Wait()
}

func (m *Manager) next(ctx context.Context) bool {
	name, shutdown := m.queue.Get()
	if shutdown {
		return false
	}
	defer m.queue.Done(name)
	err := m.work(ctx, name)
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		m.cfg.Log.Warn("extension will be tried again", "extension", name, "error", err)
		m.queue.AddRateLimited(name)
	default:
		m.queue.Forget(name)
	}
	return true
}

func (m *Manager) work(ctx context.Context, name string) error {
	if name == "" {
		return m.enqueueLeftovers(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m.mu.Lock()
	ext, wanted := m.desired[name]
	synced := m.synced
	m.cancels[name] = cancel
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.cancels, name)
		m.mu.Unlock()
	}()
	switch {
	case wanted:
		return m.ensure(ctx, ext)
	case synced:
		return m.remove(ctx, name)
	}
	return nil // the first snapshot is not complete; absence means nothing yet
}

// enqueueLeftovers looks at every extension that has a release or a record, also of an earlier life of the agent.
func (m *Manager) enqueueLeftovers(ctx context.Context) error {
	refs, err := m.cfg.Helm.Find(ctx, labelName)
	if err != nil {
		return err
	}
	for name := range refs {
		m.queue.Add(name)
	}
	for _, name := range m.records.names() {
		m.queue.Add(name)
	}
	return nil
}

// report tells a status and remembers it when it is a new one; a changed message alone is told and not remembered.
func (m *Manager) report(ctx context.Context, name string, rec record) error {
	old := m.records.get(name)
	if old == nil || old.Status.State != rec.Status.State || old.Status.Generation != rec.Status.Generation || old.Digest != rec.Digest || old.Namespace != rec.Namespace {
		if err := m.records.put(context.WithoutCancel(ctx), name, rec); err != nil {
			return err
		}
	}
	m.cfg.Report(name, rec.Status)
	return nil
}
