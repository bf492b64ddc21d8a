// Package routertest builds what a router reads from a cluster, for tests: endpoints, deployments and the addresses of pods.
package routertest

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"strconv"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/router/table"
)

// Namespace is where the objects are.
const Namespace = "team"

// Key is the key of an endpoint that Endpoint made.
func Key(endpoint string) string { return "key-of-" + endpoint }

// HashOf is what an OnlineEndpoint has of a key.
func HashOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// Endpoint makes an endpoint with one key. traffic is "blue=90 green=10".
func Endpoint(name, traffic string) *v1alpha1.OnlineEndpoint {
	e := &v1alpha1.OnlineEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: strings.ToLower(name)}}
	e.Spec = v1alpha1.OnlineEndpointSpec{
		Name: name, Auth: v1alpha1.EndpointAuth{Mode: v1alpha1.AuthKey, KeyHashes: []string{HashOf(Key(name))}}, Traffic: map[string]int32{},
	}
	for share := range strings.FieldsSeq(traffic) {
		deployment, weight, _ := strings.Cut(share, "=")
		n, err := strconv.Atoi(weight)
		if err != nil {
			panic(err)
		}
		e.Spec.Traffic[deployment] = int32(n)
	}
	return e
}

// Deployment makes a deployment with generous limits.
func Deployment(endpoint, name string) *v1alpha1.OnlineDeployment {
	d := &v1alpha1.OnlineDeployment{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: v1alpha1.DeploymentObjectName(endpoint, name)}}
	d.Spec = v1alpha1.OnlineDeploymentSpec{
		Endpoint: strings.ToLower(endpoint), Name: strings.ToLower(name), Image: "model", Scale: v1alpha1.DeploymentScale{Min: 1, Max: 10},
		Requests: v1alpha1.RequestSettings{TimeoutMilliseconds: 30000, MaxConcurrentPerInstance: 100, MaxQueueWaitMilliseconds: 30000},
		Routes:   v1alpha1.ContainerRoutes{Port: 5001, ScoringPath: "/score"},
	}
	return d
}

// Slices makes the EndpointSlices of a deployment whose pods are ready at the addresses, "ip:port".
func Slices(endpoint, name string, addrs ...string) []*discoveryv1.EndpointSlice {
	service := v1alpha1.DeploymentObjectName(endpoint, name)
	var all []*discoveryv1.EndpointSlice
	for i, addr := range addrs {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			panic(err)
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			panic(err)
		}
		ready, number := true, int32(n)
		// One a pod, since pods here differ by their ports.
		all = append(all, &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: Namespace, Name: service + "-" + strconv.Itoa(i), Labels: map[string]string{discoveryv1.LabelServiceName: service}},
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &number}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{host}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		})
	}
	return all
}

// One is an endpoint with one deployment, "blue", that gets all traffic.
func One(endpoint string, change func(*v1alpha1.OnlineDeployment), addrs ...string) table.Objects {
	d := Deployment(endpoint, "blue")
	if change != nil {
		change(d)
	}
	return table.Objects{
		Endpoints: []*v1alpha1.OnlineEndpoint{Endpoint(endpoint, "blue=100")}, Deployments: []*v1alpha1.OnlineDeployment{d},
		Slices: Slices(endpoint, "blue", addrs...),
	}
}
