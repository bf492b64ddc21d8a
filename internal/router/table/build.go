package table

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/router/auth"
	"fairlead.dev/fairlead/internal/router/gate"
)

// Objects are what a table is made of.
type Objects struct {
	Endpoints   []*v1alpha1.OnlineEndpoint
	Deployments []*v1alpha1.OnlineDeployment
	Slices      []*discoveryv1.EndpointSlice
}

// Share divides the places at a pod among routers: how many of them are this router's, and whom to ask for others.
type Share interface {
	Slots(addr string, concurrency int) int
	Lenders(deployment string, pods []string, concurrency int) []gate.Lender
}

// Builder makes tables one after another. What has a state (the line of a deployment, the verified tokens of an endpoint) goes on
// from one table to the next.
type Builder struct {
	Share Share
	Log   *slog.Logger
	gates map[string]*gate.Gate
	auths map[string]knownAuth
	said  map[string]string
}

type knownAuth struct {
	spec     v1alpha1.EndpointAuth
	verifier *auth.Verifier
}

// Build makes the next table, and has the gates of deployments follow it.
func (b *Builder) Build(o Objects) *Table {
	t := &Table{endpoints: map[string]*Endpoint{}, deployments: map[string]*Deployment{}}
	auths, said := map[string]knownAuth{}, map[string]string{}
	byNamespace := map[string]*Endpoint{}
	for _, spec := range oldestFirst(o.Endpoints) {
		name, key := strings.ToLower(spec.Name), spec.Namespace+"/"+strings.ToLower(spec.Name)
		if t.endpoints[name] != nil {
			said[key] = "another namespace has an older endpoint of this name, which gets its requests"
			continue
		}
		known, ok := b.auths[key]
		if !ok || !reflect.DeepEqual(known.spec, spec.Spec.Auth) {
			verifier, err := auth.New(spec.Spec.Auth)
			if err != nil {
				said[key] = err.Error()
			}
			known = knownAuth{spec.Spec.Auth, verifier}
		}
		auths[key] = known
		e := &Endpoint{Name: cmp.Or(spec.Spec.Name, spec.Name), Auth: known.verifier, deployments: map[string]*Deployment{}}
		t.endpoints[name], byNamespace[key] = e, e
	}
	pods := podsByService(o.Slices)
	gates := map[string]*gate.Gate{}
	for _, spec := range o.Deployments {
		e := byNamespace[spec.Namespace+"/"+strings.ToLower(spec.Spec.Endpoint)]
		if e == nil {
			continue
		}
		d := b.deployment(spec, pods)
		gates[d.Key], t.deployments[d.Key], e.deployments[strings.ToLower(d.Name)] = d.Gate, d, d
	}
	for _, spec := range o.Endpoints {
		if e := byNamespace[spec.Namespace+"/"+strings.ToLower(spec.Name)]; e != nil {
			e.weigh(spec.Spec)
		}
	}
	for key, g := range b.gates {
		if gates[key] == nil {
			g.Close()
		}
	}
	b.gates, b.auths = gates, auths
	b.complain(said)
	return t
}

// complain logs what is wrong with endpoints, once each.
func (b *Builder) complain(said map[string]string) {
	for key, what := range said {
		if b.Log != nil && b.said[key] != what {
			b.Log.Error("an endpoint is not served as it should be", "endpoint", key, "error", what)
		}
	}
	b.said = said
}

func (b *Builder) deployment(spec *v1alpha1.OnlineDeployment, pods map[string][]target) *Deployment {
	s := spec.Spec
	d := &Deployment{
		Key: spec.Namespace + "/" + spec.Name, Endpoint: s.Endpoint, Name: s.Name, ScoringPath: "/" + strings.TrimPrefix(s.Routes.ScoringPath, "/"),
		Timeout:     cmp.Or(time.Duration(s.Requests.TimeoutMilliseconds)*time.Millisecond, defaultTimeout),
		Concurrency: int(max(s.Requests.MaxConcurrentPerInstance, 1)),
	}
	for _, p := range pods[spec.Namespace+"/"+v1alpha1.DeploymentObjectName(s.Endpoint, s.Name)] {
		d.Pods = append(d.Pods, net.JoinHostPort(p.ip, strconv.Itoa(int(cmp.Or(p.port, s.Routes.Port, defaultPort)))))
	}
	slices.Sort(d.Pods)
	d.Pods = slices.Compact(d.Pods)
	cfg := gate.Config{
		Wait:   time.Duration(s.Requests.MaxQueueWaitMilliseconds) * time.Millisecond,
		Asleep: s.Scale.Min == 0,
	}
	for _, addr := range d.Pods {
		slots := d.Concurrency
		if b.Share != nil {
			slots = b.Share.Slots(addr, d.Concurrency)
		}
		cfg.Pods = append(cfg.Pods, gate.Pod{Addr: addr, Slots: slots})
	}
	if d.Gate = b.gates[d.Key]; d.Gate == nil {
		d.Gate = gate.New(cfg)
	} else {
		d.Gate.Update(cfg)
	}
	if b.Share != nil {
		d.Gate.Lenders(b.Share.Lenders(d.Key, d.Pods, d.Concurrency))
	}
	return d
}

// What a deployment keeps to that says nothing, as in the reference.
const (
	defaultTimeout       = 5 * time.Second
	defaultPort    int32 = 5001
)

// weigh takes the traffic of deployments that exist; their weights need not add up to 100.
func (e *Endpoint) weigh(spec v1alpha1.OnlineEndpointSpec) {
	names := make([]string, 0, len(spec.Traffic))
	for name, weight := range spec.Traffic {
		if weight > 0 && e.Named(name) != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		e.total += spec.Traffic[name]
		e.split = append(e.split, share{e.Named(name), e.total})
	}
	for name, percent := range spec.MirrorTraffic {
		if percent > 0 && e.Named(name) != nil {
			e.mirror, e.mirrorPercent = e.Named(name), percent
		}
	}
}

func oldestFirst(endpoints []*v1alpha1.OnlineEndpoint) []*v1alpha1.OnlineEndpoint {
	return slices.SortedFunc(slices.Values(endpoints), func(a, b *v1alpha1.OnlineEndpoint) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

// target is where a pod answers; port 0 is the deployment's.
type target struct {
	ip   string
	port int32
}

// podsByService are the ready addresses of Services, by "<namespace>/<name>".
func podsByService(endpointSlices []*discoveryv1.EndpointSlice) map[string][]target {
	pods := map[string][]target{}
	for _, s := range endpointSlices {
		service := s.Labels[discoveryv1.LabelServiceName]
		if service == "" || s.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		var port int32
		if len(s.Ports) > 0 && s.Ports[0].Port != nil {
			port = *s.Ports[0].Port
		}
		key := fmt.Sprintf("%s/%s", s.Namespace, service)
		for _, e := range s.Endpoints {
			// An unknown readiness counts as ready, as the API asks of its readers.
			if len(e.Addresses) > 0 && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				pods[key] = append(pods[key], target{e.Addresses[0], port})
			}
		}
	}
	return pods
}
