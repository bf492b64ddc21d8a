package gateway

import (
	"encoding/json"
	"fmt"
	"strings"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/link"
)

// item is a desired value as the cluster gets it: an object, and perhaps a Secret that it owns.
type item struct {
	kind            *kind
	key             string // of the desired map
	namespace, name string
	labels          map[string]string
	spec            json.RawMessage
	secretName      string
	secret          map[string]string
	// revision is told back with the status of what serves.
	revision string
	// started and canceled are a job's.
	started, canceled bool
}

// id tells an item from all others in the cluster; kinds name their objects so that no two of a kind have the same name.
func (i item) id() string { return i.kind.id(i.name) }

// kind is what differs between the values of the desired map.
type kind struct {
	// prefix is that of its keys, object the kind of its objects, noun what people call it, comes what it does when all is well.
	prefix, object, noun, comes string
	// once: what somebody deleted in the cluster is not made again.
	once bool
	// read decodes a value; name is the object's name, from a key.
	read func(key string, value json.RawMessage) (item, error)
	name func(key string) string
	// status words a failure to apply: final when it does not help to try again.
	status func(i item, final bool, reason, message string) any
	// secretLabel marks the Secret with the object's name.
	secretLabel string
}

func (k *kind) id(name string) string { return k.object + "/" + name }

// jobs become AmlJobs.
var jobs = &kind{
	prefix: link.PrefixJob, object: "AmlJob", noun: "job", comes: "starts", once: true, secretLabel: v1alpha1.LabelJobID,
	name: func(key string) string { return strings.TrimPrefix(key, link.PrefixJob) },
	read: func(key string, value json.RawMessage) (item, error) {
		var j link.Job
		if err := json.Unmarshal(value, &j); err != nil {
			return item{}, err
		}
		if link.PrefixJob+j.ID != key {
			return item{}, fmt.Errorf("its id is %q", j.ID)
		}
		return item{namespace: j.Namespace, name: j.ID, labels: j.Labels, spec: j.Spec, secretName: j.ID + v1alpha1.RunSecretSuffix, secret: j.Secret,
			started: j.Started, canceled: canceled(j)}, nil
	},
	status: func(i item, final bool, reason, message string) any {
		switch {
		case final:
			return link.JobStatus{ID: i.name, State: "Failed", Reason: reason, Message: message}
		case i.canceled: // it has never been in the cluster, so there is nothing to end
			return link.JobStatus{ID: i.name, State: "Canceled", Reason: "Canceled", Message: "canceled before it was started"}
		}
		return link.JobStatus{ID: i.name, State: "Queued", Reason: reason, Message: message}
	},
}

// endpoints become OnlineEndpoints.
var endpoints = &kind{
	prefix: link.PrefixEndpoint, object: "OnlineEndpoint", noun: "endpoint", comes: "comes up", status: servingStatus,
	name: func(key string) string { return strings.TrimPrefix(key, link.PrefixEndpoint) },
	read: func(key string, value json.RawMessage) (item, error) {
		var e link.Endpoint
		if err := json.Unmarshal(value, &e); err != nil {
			return item{}, err
		}
		if link.PrefixEndpoint+e.Name != key {
			return item{}, fmt.Errorf("its name is %q", e.Name)
		}
		return item{namespace: e.Namespace, name: e.Name, labels: e.Labels, spec: e.Spec, revision: e.Revision}, nil
	},
}

// deployments become OnlineDeployments.
var deployments = &kind{
	prefix: link.PrefixDeployment, object: "OnlineDeployment", noun: "deployment", comes: "comes up", status: servingStatus, secretLabel: v1alpha1.LabelDeployment,
	name: func(key string) string {
		endpoint, name, _ := strings.Cut(strings.TrimPrefix(key, link.PrefixDeployment), "/")
		return v1alpha1.DeploymentObjectName(endpoint, name)
	},
	read: func(key string, value json.RawMessage) (item, error) {
		var d link.Deployment
		if err := json.Unmarshal(value, &d); err != nil {
			return item{}, err
		}
		if link.PrefixDeployment+d.Endpoint+"/"+d.Name != key {
			return item{}, fmt.Errorf("it is deployment %q of endpoint %q", d.Name, d.Endpoint)
		}
		name := v1alpha1.DeploymentObjectName(d.Endpoint, d.Name)
		return item{namespace: d.Namespace, name: name, labels: d.Labels, spec: d.Spec, secretName: name + v1alpha1.FetchSecretSuffix, secret: d.Secret, revision: d.Revision}, nil
	},
}

// servingStatus is a failure of the rollout, also when it is tried again: it is mended as soon as that succeeds.
func servingStatus(i item, _ bool, reason, message string) any {
	return link.ServingStatus{Revision: i.revision, State: link.ServingFailed, Reason: reason, Message: message}
}

func canceled(job link.Job) bool {
	var spec v1alpha1.AmlJobSpec
	return json.Unmarshal(job.Spec, &spec) == nil && spec.Job.Cancel
}
