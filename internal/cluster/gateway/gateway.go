// Package gateway brings the control plane's desired jobs into the cluster: each becomes an AmlJob and the Secret that its pods
// read, by server-side apply, and what is not desired any more is deleted. It reads no Secret and starts no pod.
package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/desired"
	"fairlead.dev/fairlead/internal/link"
)

const (
	// FieldManager owns what the gateway applies.
	FieldManager = "fairlead-gateway"
	// LabelManagedBy with value FieldManager marks the AmlJobs that the gateway may delete.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// workers is how many jobs are applied at once.
	workers = 8
	// maxRetry bounds the pause before a job that could not be applied is tried again.
	maxRetry = 10 * time.Second
	// resync is how often AmlJobs are compared with what is desired, for what no event tells of.
	resync = 5 * time.Minute
	// mourning is how long the gateway waits before it says that an AmlJob was deleted: the reporter, if it saw the job, knows better
	// how it ended, and its word has come by then.
	mourning = time.Minute
)

// Config is what a Gateway needs.
type Config struct {
	// Client must know v1alpha1; it is used without a cache.
	Client client.Client
	// Observe posts the status of a job that has no AmlJob to say it; it must not block.
	Observe func(key string, status link.JobStatus) error
	// Forget takes back what Observe has not sent yet.
	Forget func(key string)
	// Mourning is for tests; 0 means a minute.
	Mourning time.Duration
	Log      *slog.Logger
}

// Gateway applies desired jobs.
type Gateway struct {
	cfg   Config
	queue workqueue.TypedRateLimitingInterface[string]

	mu   sync.Mutex
	jobs map[string]link.Job
	// where remembers the namespace of every job that is or was in the cluster, so that it can be deleted.
	where map[string]string
	// uids are those of the AmlJobs that were seen. Such a job's AmlJob is never made again.
	uids map[string]types.UID
	// missed are the jobs whose AmlJob was seen to be deleted, and when.
	missed map[string]time.Time
}

// New makes a Gateway.
func New(cfg Config) *Gateway {
	cfg.Mourning = cmp.Or(cfg.Mourning, mourning)
	limit := workqueue.NewTypedItemExponentialFailureRateLimiter[string](250*time.Millisecond, maxRetry)
	return &Gateway{
		cfg: cfg, queue: workqueue.NewTypedRateLimitingQueue(limit),
		jobs: map[string]link.Job{}, where: map[string]string{}, uids: map[string]types.UID{}, missed: map[string]time.Time{},
	}
}

// Handler takes the events below link.PrefixJob.
func (g *Gateway) Handler() desired.Handler {
	return desired.Handler{Put: g.put, Delete: g.delete, Synced: g.setSynced}
}

func (g *Gateway) put(key string, value json.RawMessage) error {
	var job link.Job
	err := json.Unmarshal(value, &job)
	if err == nil && link.PrefixJob+job.ID != key {
		err = fmt.Errorf("its id is %q", job.ID)
	}
	if err != nil { // delivering it again would not make it better
		g.cfg.Log.Error("ignoring a desired job that cannot be read", "key", key, "error", err)
		return nil
	}
	g.mu.Lock()
	g.jobs[job.ID] = job
	g.where[job.ID] = job.Namespace
	g.mu.Unlock()
	g.queue.Add(job.ID)
	return nil
}

func (g *Gateway) delete(key string) error {
	id := strings.TrimPrefix(key, link.PrefixJob)
	g.mu.Lock()
	delete(g.jobs, id)
	g.mu.Unlock()
	g.queue.Add(id)
	return nil
}

func (g *Gateway) setSynced() error {
	g.queue.Add("") // looks for AmlJobs that are not desired
	return nil
}

// Run works until ctx ends.
func (g *Gateway) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		<-ctx.Done()
		g.queue.ShutDown()
		return ctx.Err()
	})
	for range workers {
		group.Go(func() error {
			for g.next(ctx) {
			}
			return nil
		})
	}
	return group.Wait()
}

func (g *Gateway) next(ctx context.Context) bool {
	id, shutdown := g.queue.Get()
	if shutdown {
		return false
	}
	defer g.queue.Done(id)
	switch err := g.work(ctx, id); {
	case ctx.Err() != nil:
		return false
	case err != nil:
		g.cfg.Log.Warn("job will be tried again", "job", id, "error", err)
		g.queue.AddRateLimited(id)
	default:
		g.queue.Forget(id)
	}
	return true
}

func (g *Gateway) work(ctx context.Context, id string) error {
	if id == "" {
		defer g.queue.AddAfter("", resync)
		return g.prune(ctx)
	}
	g.mu.Lock()
	job, wanted := g.jobs[id]
	namespace := g.where[id]
	g.mu.Unlock()
	if !wanted {
		return g.remove(ctx, namespace, id)
	}
	return g.apply(ctx, job)
}

// prune queues what the cluster holds and the control plane does not want, and what it held and holds no more.
func (g *Gateway) prune(ctx context.Context) error {
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AmlJobList"))
	if err := g.cfg.Client.List(ctx, &list, client.MatchingLabels{LabelManagedBy: FieldManager}); err != nil {
		return fmt.Errorf("listing AmlJobs: %w", err)
	}
	here := make(map[types.UID]bool, len(list.Items))
	for _, o := range list.Items {
		here[o.UID] = true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, uid := range g.uids {
		if _, wanted := g.jobs[id]; wanted && !here[uid] {
			g.queue.Add(id)
		}
	}
	for _, ref := range undesired(g.jobs, list.Items) {
		if _, wanted := g.jobs[ref.name]; !wanted {
			g.where[ref.name] = ref.namespace
			g.queue.Add(ref.name)
			continue
		}
		g.cfg.Log.Error("AmlJob is not in its job's namespace; leaving it", "job", ref.name, "namespace", ref.namespace)
	}
	return nil
}

// ref names an AmlJob.
type ref struct{ namespace, name string }

// undesired lists the AmlJobs that no desired job stands for.
func undesired(jobs map[string]link.Job, current []metav1.PartialObjectMetadata) []ref {
	var out []ref
	for _, o := range current {
		if job, ok := jobs[o.Name]; !ok || job.Namespace != o.Namespace {
			out = append(out, ref{o.Namespace, o.Name})
		}
	}
	return out
}
