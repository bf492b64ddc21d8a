// Package gateway brings the control plane's desired jobs, endpoints and deployments into the cluster: each becomes a custom resource
// and perhaps the Secret that its pods read, by server-side apply, and what is not desired any more is deleted. It reads no Secret and
// starts no pod.
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
)

const (
	// FieldManager owns what the gateway applies.
	FieldManager = "fairlead-gateway"
	// LabelManagedBy with value FieldManager marks the objects that the gateway may delete.
	LabelManagedBy = "app.kubernetes.io/managed-by"
	// workers is how many objects are applied at once.
	workers = 8
	// maxRetry bounds the pause before what could not be applied is tried again.
	maxRetry = 10 * time.Second
	// resync is how often objects are compared with what is desired, for what no event tells of.
	resync = 5 * time.Minute
	// mourning is how long the gateway waits before it says that an AmlJob was deleted: the reporter, if it saw the job, knows better
	// how it ended, and its word has come by then.
	mourning = time.Minute
)

// Config is what a Gateway needs.
type Config struct {
	// Client must know v1alpha1; it is used without a cache.
	Client client.Client
	// Inference brings endpoints and deployments too.
	Inference bool
	// Observe posts the status of what has no object to say it; it must not block.
	Observe func(key string, status any) error
	// Forget takes back what Observe has not sent yet.
	Forget func(key string)
	// Mourning is for tests; 0 means a minute.
	Mourning time.Duration
	Log      *slog.Logger
}

// Gateway applies what is desired.
type Gateway struct {
	cfg   Config
	kinds []*kind
	queue workqueue.TypedRateLimitingInterface[string] // of ids

	mu    sync.Mutex
	items map[string]item // by id, as all that follow
	// where remembers the namespace of everything that is or was in the cluster, so that it can be deleted.
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
	kinds := []*kind{jobs}
	if cfg.Inference {
		kinds = append(kinds, endpoints, deployments)
	}
	return &Gateway{
		cfg: cfg, kinds: kinds, queue: workqueue.NewTypedRateLimitingQueue(limit),
		items: map[string]item{}, where: map[string]string{}, uids: map[string]types.UID{}, missed: map[string]time.Time{},
	}
}

// Prefix is that of the keys of the desired map that the gateway has to hear of.
func (g *Gateway) Prefix() string {
	if len(g.kinds) == 1 {
		return g.kinds[0].prefix
	}
	return ""
}

// Handler takes the events below Prefix. Keys of no kind that the gateway brings are for others.
func (g *Gateway) Handler() desired.Handler {
	return desired.Handler{Put: g.put, Delete: g.delete, Synced: g.setSynced}
}

func (g *Gateway) put(key string, value json.RawMessage) error {
	for _, k := range g.kinds {
		if !strings.HasPrefix(key, k.prefix) {
			continue
		}
		i, err := k.read(key, value)
		if err != nil { // delivering it again would not make it better
			g.cfg.Log.Error("ignoring a desired value that cannot be read", "key", key, "error", err)
			return nil
		}
		i.kind, i.key = k, key
		g.mu.Lock()
		g.items[i.id()] = i
		if g.where[i.id()] == "" {
			g.where[i.id()] = i.namespace
		}
		g.mu.Unlock()
		g.queue.Add(i.id())
	}
	return nil
}

func (g *Gateway) delete(key string) error {
	for _, k := range g.kinds {
		if strings.HasPrefix(key, k.prefix) {
			id := k.id(k.name(key))
			g.mu.Lock()
			delete(g.items, id)
			g.mu.Unlock()
			g.queue.Add(id)
		}
	}
	return nil
}

// kindOf parts an id.
func (g *Gateway) kindOf(id string) (*kind, string) {
	object, name, _ := strings.Cut(id, "/")
	for _, k := range g.kinds {
		if k.object == object {
			return k, name
		}
	}
	return nil, ""
}

func (g *Gateway) setSynced() error {
	g.queue.Add("") // looks for objects that are not desired
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
		g.cfg.Log.Warn("will be tried again", "object", id, "error", err)
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
	i, wanted := g.items[id]
	g.mu.Unlock()
	if !wanted {
		return g.remove(ctx, id)
	}
	return g.apply(ctx, i)
}

// prune queues what the cluster holds and the control plane does not want, and what it held and holds no more.
func (g *Gateway) prune(ctx context.Context) error {
	for _, k := range g.kinds {
		var list metav1.PartialObjectMetadataList
		list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(k.object + "List"))
		if err := g.cfg.Client.List(ctx, &list, client.MatchingLabels{LabelManagedBy: FieldManager}); err != nil {
			return fmt.Errorf("listing %ss: %w", k.object, err)
		}
		g.compare(k, list.Items)
	}
	return nil
}

func (g *Gateway) compare(k *kind, current []metav1.PartialObjectMetadata) {
	here, names := make(map[types.UID]bool, len(current)), make(map[string]bool, len(current))
	for _, o := range current {
		here[o.UID], names[k.id(o.Name)] = true, true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, i := range g.items {
		uid, seen := g.uids[id]
		if i.kind == k && (seen && !here[uid] || !k.once && !names[id]) {
			g.queue.Add(id)
		}
	}
	for _, ref := range undesired(k, g.items, current) {
		id := k.id(ref.name)
		if _, wanted := g.items[id]; !wanted || !k.once { // what serves may have moved while nobody was here
			g.where[id] = ref.namespace
			g.queue.Add(id)
			continue
		}
		g.cfg.Log.Error(k.object+" is not in the namespace of its "+k.noun+"; leaving it", "name", ref.name, "namespace", ref.namespace)
	}
}

// ref names an object.
type ref struct{ namespace, name string }

// undesired lists the objects of a kind that no item stands for.
func undesired(k *kind, items map[string]item, current []metav1.PartialObjectMetadata) []ref {
	var out []ref
	for _, o := range current {
		if i, ok := items[k.id(o.Name)]; !ok || i.namespace != o.Namespace {
			out = append(out, ref{o.Namespace, o.Name})
		}
	}
	return out
}
