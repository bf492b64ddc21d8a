package inference

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/api/routerload"
)

// autoscaler asks all routers what they carry, every second at most, and decides how many pods each autoscaled deployment shall have. It
// writes nothing itself: the reconciler is told to look at the deployment again, and asks wanted.
type autoscaler struct {
	cfg     Config
	client  client.Client
	changed chan event.GenericEvent

	mu     sync.Mutex
	scales map[types.NamespacedName]*scale
}

// scale is one deployment's.
type scale struct {
	history history
	// due is when it is looked at again, peak the highest that routers told since it was.
	due    time.Time
	peak   int
	wanted int32
}

func newAutoscaler(cfg Config, c client.Client) *autoscaler {
	return &autoscaler{cfg: cfg, client: c, changed: make(chan event.GenericEvent, 64), scales: map[types.NamespacedName]*scale{}}
}

// wanted is the number of pods that was decided last; false when none was since the operator started.
func (a *autoscaler) wanted(key types.NamespacedName) (int32, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.scales[key]
	if s == nil {
		return 0, false
	}
	return s.wanted, true
}

// Start implements manager.Runnable.
func (a *autoscaler) Start(ctx context.Context) error {
	tick := time.NewTicker(defaultInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := a.tick(ctx, a.cfg.Clock()); err != nil && ctx.Err() == nil {
				ctrl.Log.WithName("autoscaler").Error(err, "deployments keep their number of pods")
			}
		}
	}
}

// tick looks at the deployments whose polling interval is over. The loads are those of one moment.
func (a *autoscaler) tick(ctx context.Context, now time.Time) error {
	var all v1alpha1.OnlineDeploymentList
	if err := a.client.List(ctx, &all); err != nil {
		return fmt.Errorf("listing OnlineDeployments: %w", err)
	}
	due := a.due(all.Items, now)
	if len(due) == 0 {
		return nil
	}
	loads, complete, err := a.loads(ctx)
	a.notePeaks(loads)
	for _, od := range due {
		l := loads[od.Namespace+"/"+od.Name]
		a.look(ctx, od, now, load{busy: l.Busy, queued: l.Queued, peak: l.Peak, complete: complete})
	}
	return err
}

// notePeaks remembers the peaks of deployments that are not looked at now: routers tell each only once.
func (a *autoscaler) notePeaks(loads map[string]routerload.Load) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, s := range a.scales {
		s.peak = max(s.peak, loads[key.String()].Peak)
	}
}

// due are the autoscaled deployments to look at; what is known of others is forgotten.
func (a *autoscaler) due(all []v1alpha1.OnlineDeployment, now time.Time) []*v1alpha1.OnlineDeployment {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.scales
	a.scales = make(map[types.NamespacedName]*scale, len(known))
	var due []*v1alpha1.OnlineDeployment
	for i := range all {
		od := &all[i]
		key := client.ObjectKeyFromObject(od)
		if !autoscaled(od) || od.DeletionTimestamp != nil {
			continue
		}
		if s := known[key]; s != nil {
			a.scales[key] = s
			if now.Before(s.due) {
				continue
			}
			s.due = now.Add(interval(od.Spec.Scale))
		}
		due = append(due, od)
	}
	return due
}

func autoscaled(od *v1alpha1.OnlineDeployment) bool { return od.Spec.Scale.Min < od.Spec.Scale.Max }

// look decides for one deployment and has it reconciled when the number changes. Before all its pods have been up once none is taken away:
// a deployment has to show that it works.
func (a *autoscaler) look(ctx context.Context, od *v1alpha1.OnlineDeployment, now time.Time, l load) {
	var d appsv1.Deployment
	key := client.ObjectKeyFromObject(od)
	if a.client.Get(ctx, key, &d) != nil || d.Spec.Replicas == nil {
		return // not made yet
	}
	current := *d.Spec.Replicas
	a.mu.Lock()
	s := a.scales[key]
	if s == nil {
		s = &scale{wanted: current, due: now.Add(interval(od.Spec.Scale))}
		a.scales[key] = s
	}
	l.peak, s.peak = max(l.peak, s.peak), 0
	pods := s.history.next(now, od.Spec.Scale, od.Spec.Requests.MaxConcurrentPerInstance, current, l)
	if pods < current && !succeeded(od) {
		pods = current
	}
	s.wanted = pods
	a.mu.Unlock()
	if pods != current {
		ctrl.Log.WithName("autoscaler").Info("scaling", "deployment", key, "from", current, "to", pods, "busy", l.busy, "queued", l.queued)
		select {
		case a.changed <- event.GenericEvent{Object: od}:
		case <-ctx.Done():
		}
	}
}

// loads adds up what all routers carry. complete is false when there is no router or not every one answered.
func (a *autoscaler) loads(ctx context.Context) (sum map[string]routerload.Load, complete bool, err error) {
	routers, err := a.routers(ctx)
	if err != nil {
		return nil, false, err
	}
	reports := make([]routerload.Report, len(routers))
	errs := make([]error, len(routers))
	var wg sync.WaitGroup
	for i, r := range routers {
		wg.Go(func() {
			reports[i], errs[i] = a.ask(ctx, r.address)
			if r.ending { // One that does not answer has ended, and carries nothing.
				errs[i] = nil
			}
		})
	}
	wg.Wait()
	sum = map[string]routerload.Load{}
	for _, r := range reports {
		for name, l := range r.Deployments {
			s := sum[name]
			sum[name] = routerload.Load{Busy: s.Busy + max(l.Busy, 0), Queued: s.Queued + max(l.Queued, 0), Peak: s.Peak + max(l.Peak, 0)}
		}
	}
	err = errors.Join(errs...)
	return sum, err == nil && len(routers) > 0, err
}

// routerPod is where a router's pod is. One that is ending is not ready, but still carries requests.
type routerPod struct {
	address string
	ending  bool
}

func (a *autoscaler) routers(ctx context.Context) ([]routerPod, error) {
	var slices discoveryv1.EndpointSliceList
	if err := a.client.List(ctx, &slices, client.InNamespace(a.cfg.RouterNamespace), client.MatchingLabels{discoveryv1.LabelServiceName: v1alpha1.RouterService}); err != nil {
		return nil, fmt.Errorf("listing the routers: %w", err)
	}
	var out []routerPod
	for _, s := range slices.Items {
		for _, e := range s.Endpoints {
			serves, ends := ptr.Deref(e.Conditions.Serving, true), ptr.Deref(e.Conditions.Terminating, false)
			if len(e.Addresses) > 0 && (serves || ends) {
				out = append(out, routerPod{net.JoinHostPort(e.Addresses[0], strconv.Itoa(routerload.Port)), ends})
			}
		}
	}
	return out, nil
}

// maxReport bounds what is read of a router's answer.
const maxReport = 4 << 20

func (a *autoscaler) ask(ctx context.Context, address string) (routerload.Report, error) {
	var r routerload.Report
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+routerload.Path, nil)
	if err != nil {
		return r, err
	}
	res, err := a.cfg.HTTP.Do(req)
	if err != nil {
		return r, fmt.Errorf("asking router %s for its load: %w", address, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return r, fmt.Errorf("asking router %s for its load: %s", address, res.Status)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxReport)).Decode(&r); err != nil {
		return r, fmt.Errorf("reading the load of router %s: %w", address, err)
	}
	return r, nil
}
