// Package table is the router's picture of the cluster: which endpoints there are, who may call them, which deployments answer, and
// where their pods are. A Table never changes; a Builder makes the next one of what was read from the API server.
package table

import (
	"math/rand/v2"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/router/auth"
	"fairlead.dev/fairlead/internal/router/gate"
)

// Table holds all endpoints by their names in lower case.
type Table struct {
	endpoints   map[string]*Endpoint
	deployments map[string]*Deployment // by Key
}

// Endpoint finds an endpoint by its name in any case.
func (t *Table) Endpoint(name string) *Endpoint {
	if e := t.endpoints[name]; e != nil {
		return e
	}
	return t.endpoints[strings.ToLower(name)]
}

// Endpoints are all there are, by their names in lower case.
func (t *Table) Endpoints() map[string]*Endpoint { return t.endpoints }

// Deployment finds a deployment by its Key.
func (t *Table) Deployment(key string) *Deployment { return t.deployments[key] }

// Deployments are all there are, by Key.
func (t *Table) Deployments() map[string]*Deployment { return t.deployments }

// Endpoint is one endpoint.
type Endpoint struct {
	Name          string
	Auth          *auth.Verifier
	deployments   map[string]*Deployment
	split         []share
	total         int32
	mirror        *Deployment
	mirrorPercent int32
}

// share is a deployment and the sum of the weights up to its own.
type share struct {
	deployment *Deployment
	upTo       int32
}

// Deployment is one deployment of an endpoint.
type Deployment struct {
	// Key is "<namespace>/<name of the OnlineDeployment object>".
	Key, Endpoint, Name string
	// ScoringPath begins with a slash.
	ScoringPath string
	// Timeout is how long a pod may take to begin its answer.
	Timeout time.Duration
	// Concurrency is how many requests a pod gets at once, of all routers together.
	Concurrency int
	// Pods are the addresses of those that are ready.
	Pods []string
	Gate *gate.Gate
}

// Named finds a deployment by its name in any case.
func (e *Endpoint) Named(name string) *Deployment { return e.deployments[strings.ToLower(name)] }

// Choose picks a deployment by the traffic split; nil if no deployment has a share.
func (e *Endpoint) Choose() *Deployment {
	switch len(e.split) {
	case 0:
		return nil
	case 1:
		return e.split[0].deployment
	}
	return e.at(rand.Int32N(e.total))
}

// at is the deployment that a number below the sum of all weights stands for.
func (e *Endpoint) at(n int32) *Deployment {
	for _, s := range e.split {
		if n < s.upTo {
			return s.deployment
		}
	}
	return nil
}

// Mirror is the deployment that gets a copy of this request, or nil.
func (e *Endpoint) Mirror() *Deployment {
	if e.mirror == nil || rand.Int32N(100) >= e.mirrorPercent {
		return nil
	}
	return e.mirror
}
