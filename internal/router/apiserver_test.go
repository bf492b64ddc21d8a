package router

import (
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/router/table"
	"fairlead.dev/fairlead/internal/testing/freeport"
)

// apiServer answers lists and watches of what routers follow, under the one address, and can be away.
type apiServer struct {
	t        *testing.T
	addr     string
	server   *http.Server
	mu       sync.Mutex
	version  int
	objects  map[string]map[string]metav1.Object // by resource and name
	watchers map[chan event]string
}

var kinds = map[string]metav1.TypeMeta{
	"onlineendpoints":   {APIVersion: v1alpha1.GroupVersion.String(), Kind: "OnlineEndpoint"},
	"onlinedeployments": {APIVersion: v1alpha1.GroupVersion.String(), Kind: "OnlineDeployment"},
	"endpointslices":    {APIVersion: discoveryv1.SchemeGroupVersion.String(), Kind: "EndpointSlice"},
}

type event struct {
	Type   string        `json:"type"`
	Object metav1.Object `json:"object"`
}

func newAPIServer(t *testing.T) *apiServer {
	s := &apiServer{t: t, addr: freeport.Address(t), version: 1, objects: map[string]map[string]metav1.Object{}, watchers: map[chan event]string{}}
	s.start()
	t.Cleanup(func() { s.stop() })
	return s
}

func (s *apiServer) start() {
	l, err := net.Listen("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr, s.server = l.Addr().String(), &http.Server{Handler: s}
	go func() { _ = s.server.Serve(l) }()
}

// stop cuts off everybody.
func (s *apiServer) stop() { _ = s.server.Close() }

// set has the cluster be as these objects say, and tells what is different.
func (s *apiServer) set(o table.Objects) {
	next := map[string]map[string]metav1.Object{"onlineendpoints": {}, "onlinedeployments": {}, "endpointslices": {}}
	for _, e := range o.Endpoints {
		e.TypeMeta = kinds["onlineendpoints"]
		next["onlineendpoints"][e.Name] = e.DeepCopy()
	}
	for _, d := range o.Deployments {
		d.TypeMeta = kinds["onlinedeployments"]
		next["onlinedeployments"][d.Name] = d.DeepCopy()
	}
	for _, e := range o.Slices {
		e.TypeMeta = kinds["endpointslices"]
		next["endpointslices"][e.Namespace+e.Name] = e.DeepCopy()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for resource, objects := range next {
		for name, old := range s.objects[resource] {
			if objects[name] == nil {
				s.tell(resource, "DELETED", old)
			}
		}
		for name, obj := range objects {
			if s.objects[resource][name] == nil {
				s.tell(resource, "ADDED", obj)
			} else {
				s.tell(resource, "MODIFIED", obj)
			}
		}
	}
	s.objects = next
}

func (s *apiServer) tell(resource, what string, obj metav1.Object) {
	s.version++
	obj.SetResourceVersion(strconv.Itoa(s.version))
	obj.SetUID("uid")
	for ch, of := range s.watchers {
		if of == resource {
			ch <- event{what, obj}
		}
	}
}

// ServeHTTP implements http.Handler.
func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	resource := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	w.Header().Set("Content-Type", "application/json")
	answer := json.NewEncoder(w)
	if r.URL.Query().Get("sendInitialEvents") != "" { // clients then list
		w.WriteHeader(http.StatusUnprocessableEntity)
		_ = answer.Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonInvalid, Code: http.StatusUnprocessableEntity})
		return
	}
	s.mu.Lock()
	version, objects := strconv.Itoa(s.version), slices.Collect(maps.Values(s.objects[resource]))
	if r.URL.Query().Get("watch") == "" {
		defer s.mu.Unlock()
		_ = answer.Encode(map[string]any{"apiVersion": kinds[resource].APIVersion, "kind": kinds[resource].Kind + "List", "metadata": map[string]string{"resourceVersion": version}, "items": objects})
		return
	}
	if from := r.URL.Query().Get("resourceVersion"); from != version { // what was between is not remembered
		s.mu.Unlock()
		_ = answer.Encode(map[string]any{"type": "ERROR", "object": metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonExpired, Code: http.StatusGone}})
		return
	}
	ch := make(chan event, 1000)
	s.watchers[ch] = resource
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watchers, ch)
		s.mu.Unlock()
	}()
	rc := http.NewResponseController(w)
	for _ = rc.Flush(); ; _ = rc.Flush() {
		select {
		case <-r.Context().Done():
			return
		case e := <-ch:
			_ = answer.Encode(e)
		}
	}
}
