package training

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	jobset "sigs.k8s.io/jobset/api/jobset/v1alpha2"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/testing/kubetest"
)

// crds is where the chart keeps what the test installs: the test runs against what users get.
const crds = "../../../charts/azureml/crds"

// world of a controller test: a real API server with the operator on it; Jobs and pods are played by the test.
type stage struct {
	t *testing.T
	c client.WithWatch
}

func newStage(t *testing.T) *stage {
	t.Helper()
	log.SetLogger(logr.Discard())
	kube := kubetest.Start(t)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.NewWithWatch(kube.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, c: c}
	s.installCRDs()
	s.must(c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ml"}}))
	mgr, err := ctrl.NewManager(kube.Config, ctrl.Options{Scheme: scheme, Cache: CacheOptions(), Metrics: server.Options{BindAddress: "0"}, GracefulShutdownTimeout: new(3 * time.Minute), // of a busy machine
		Controller: config.Controller{SkipNameValidation: new(true)}}) // the test may run more than once in a process
	if err != nil {
		t.Fatal(err)
	}
	s.must(Add(mgr, Config{RuntimeImage: "fairlead/runtime:1", PullSecret: "extension"}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("manager: %v", err)
		}
	})
	return s
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) installCRDs() {
	files, _ := filepath.Glob(filepath.Join(crds, "*.yaml"))
	if len(files) == 0 {
		s.t.Fatalf("no CRDs in %s", crds)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		s.must(err)
		var crd apiextensionsv1.CustomResourceDefinition
		s.must(yaml.Unmarshal(b, &crd))
		s.must(s.c.Create(s.t.Context(), &crd))
	}
	for _, f := range files {
		b, _ := os.ReadFile(f)
		var crd apiextensionsv1.CustomResourceDefinition
		s.must(yaml.Unmarshal(b, &crd))
		until(s, &crd, &apiextensionsv1.CustomResourceDefinitionList{}, func(c *apiextensionsv1.CustomResourceDefinition) bool {
			for _, cond := range c.Status.Conditions {
				if cond.Type == apiextensionsv1.Established && cond.Status == apiextensionsv1.ConditionTrue {
					return true
				}
			}
			return false
		})
	}
}

// until watches one object until it is as wanted.
func until[T client.Object](s *stage, obj T, list client.ObjectList, ok func(T) bool) T {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	w, err := s.c.Watch(ctx, list, client.InNamespace(obj.GetNamespace()), client.MatchingFields{"metadata.name": obj.GetName()})
	s.must(err)
	defer w.Stop()
	var last any
	for {
		select {
		case e, open := <-w.ResultChan():
			if !open {
				s.t.Fatal("watch ended")
			}
			if o, is := e.Object.(T); is && e.Type != watch.Deleted {
				if last = o; ok(o) {
					return o
				}
			}
		case <-ctx.Done():
			b, _ := yaml.Marshal(last)
			s.t.Fatalf("object did not become as wanted; last:\n%s", b)
		}
	}
}

func (s *stage) job(name string, edit ...func(*v1alpha1.AmlJob)) *v1alpha1.AmlJob {
	j := aJob(edit...)
	j.ObjectMeta = metav1.ObjectMeta{Name: name, Namespace: "ml", Labels: map[string]string{"ml.azure.com/workspace": "ws1"}}
	j.Spec.Job.JobID = name
	s.must(s.c.Create(s.t.Context(), j))
	return j
}

func (s *stage) state(name, state, reason string) *v1alpha1.AmlJob {
	s.t.Helper()
	j := &v1alpha1.AmlJob{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ml"}}
	return until(s, j, &v1alpha1.AmlJobList{}, func(j *v1alpha1.AmlJob) bool {
		return j.Status.State == state && (reason == "*" || j.Status.Reason == reason)
	})
}

func (s *stage) jobSet(id string) *jobset.JobSet {
	s.t.Helper()
	js := &jobset.JobSet{ObjectMeta: metav1.ObjectMeta{Name: jobSetName(id), Namespace: "ml"}}
	return until(s, js, &jobset.JobSetList{}, func(*jobset.JobSet) bool { return true })
}

// pod plays the Job controller and the kubelet: a pod made from the JobSet's template, with a status.
func (s *stage) pod(name string, rank string, edit func(*corev1.Pod)) *corev1.Pod {
	s.t.Helper()
	tmpl := s.jobSet(name).Spec.ReplicatedJobs[0].Template.Spec.Template
	p := &corev1.Pod{ObjectMeta: *tmpl.ObjectMeta.DeepCopy(), Spec: *tmpl.Spec.DeepCopy()}
	p.Name, p.Namespace, p.Spec.NodeName = name+"-worker-0-"+rank, "ml", "node-1"
	p.Labels[LabelRank], p.Labels[labelAttempt] = rank, "0"
	s.must(s.c.Create(s.t.Context(), p))
	s.podStatus(p, edit)
	return p
}

func (s *stage) podStatus(p *corev1.Pod, edit func(*corev1.Pod)) {
	s.t.Helper()
	spec := p.Spec.DeepCopy()
	edit(p)
	p.Spec = *spec
	s.must(s.c.Status().Update(s.t.Context(), p))
}

func (s *stage) finish(name string, t jobset.JobSetConditionType) {
	s.t.Helper()
	js := s.jobSet(name)
	js.Status.Conditions = append(js.Status.Conditions, metav1.Condition{Type: string(t), Status: metav1.ConditionTrue,
		Reason: "Played", Message: "played", LastTransitionTime: metav1.Now()})
	js.Status.TerminalState = string(t)
	s.must(s.c.Status().Update(s.t.Context(), js))
}

func jobID(n byte) string { return testID[:31] + string('0'+n) }

func TestController(t *testing.T) {
	s := newStage(t)

	t.Run("runs to the end", func(t *testing.T) {
		s := &stage{t, s.c}
		id := jobID(1)
		s.job(id, gangOf(2))
		s.jobSet(id)
		s.state(id, StateQueued, ReasonPodPending)
		owned := []client.Object{&corev1.ConfigMap{}, &corev1.Service{}, &networkingv1.NetworkPolicy{}}
		for i, name := range []string{id, "job-" + id + "-svc", id} {
			s.must(s.c.Get(t.Context(), types.NamespacedName{Namespace: "ml", Name: name}, owned[i]))
			if o := owned[i].GetOwnerReferences(); len(o) != 1 || o[0].Kind != "AmlJob" {
				t.Errorf("%T is owned by %v", owned[i], o)
			}
		}
		p0 := s.pod(id, "0", running(false, 5))
		p1 := s.pod(id, "1", running(false, 6))
		s.state(id, StatePreparing, "")
		s.podStatus(p0, running(true, 5))
		s.podStatus(p1, running(true, 6))
		j := s.state(id, StateRunning, "")
		if len(j.Status.Pods) != 2 || j.Status.Pods[1].Rank != 1 || !j.Status.JobSetCreated {
			t.Errorf("status %+v", j.Status)
		}
		s.finish(id, jobset.JobSetCompleted)
		if j := s.state(id, StateCompleted, ""); j.Status.ExitCode == nil || *j.Status.ExitCode != 0 {
			t.Errorf("status %+v", j.Status)
		}
	})
	t.Run("fails", func(t *testing.T) {
		s := &stage{t, s.c}
		id := jobID(2)
		s.job(id)
		s.pod(id, "0", ended(7, "Error", 9, nil))
		s.finish(id, jobset.JobSetFailed)
		if j := s.state(id, StateFailed, ReasonNonZeroExit); *j.Status.ExitCode != 7 {
			t.Errorf("exit code %d", *j.Status.ExitCode)
		}
	})
	t.Run("waits for its instance type", func(t *testing.T) {
		s := &stage{t, s.c}
		id := jobID(3)
		s.job(id, typed("gpu"))
		s.state(id, StateQueued, ReasonUnknownInstanceType)
		it := &v1alpha1.InstanceType{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}, Spec: gpuType().Spec}
		s.must(s.c.Create(t.Context(), it))
		if n := s.jobSet(id).Spec.ReplicatedJobs[0].Template.Spec.Template.Spec.NodeSelector["pool"]; n != "gpu" {
			t.Errorf("node selector %q", n)
		}
	})
	t.Run("is canceled", func(t *testing.T) {
		s := &stage{t, s.c}
		id := jobID(4)
		s.job(id)
		p := s.pod(id, "0", running(true, 5))
		j := s.state(id, StateRunning, "")
		j.Spec.Job.Cancel = true
		s.must(s.c.Update(t.Context(), j))
		js := until(s, s.jobSet(id), &jobset.JobSetList{}, func(js *jobset.JobSet) bool { return js.DeletionTimestamp != nil })
		s.state(id, StateRunning, "*")
		js.Finalizers = nil // plays the garbage collector
		s.must(s.c.Update(t.Context(), js))
		zero := int64(0)
		s.must(s.c.Delete(t.Context(), p, &client.DeleteOptions{GracePeriodSeconds: &zero}))
		s.state(id, StateCanceled, ReasonCanceled)
	})
	t.Run("is not started twice", func(t *testing.T) {
		s := &stage{t, s.c}
		id := jobID(5)
		s.job(id)
		js := s.jobSet(id)
		until(s, &v1alpha1.AmlJob{ObjectMeta: metav1.ObjectMeta{Name: id, Namespace: "ml"}}, &v1alpha1.AmlJobList{},
			func(j *v1alpha1.AmlJob) bool { return j.Status.JobSetCreated })
		s.must(s.c.Delete(t.Context(), js))
		s.state(id, StateFailed, ReasonJobSetDeleted)
		if err := s.c.Get(t.Context(), client.ObjectKeyFromObject(js), &jobset.JobSet{}); !apierrors.IsNotFound(err) {
			t.Errorf("JobSet is there again: %v", err)
		}
	})
	t.Run("outlives its node", func(t *testing.T) {
		s := &stage{t, s.c}
		s.lostNode(jobID('f' - '0'))
	})
	t.Run("tells of quota", func(t *testing.T) {
		s := &stage{t, s.c}
		id := jobID(6)
		s.job(id)
		js := s.jobSet(id)
		s.must(s.c.Create(t.Context(), &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Name: "e1", Namespace: "ml"},
			InvolvedObject: corev1.ObjectReference{APIVersion: "batch/v1", Kind: "Job", Namespace: "ml", Name: js.Name},
			Type:           corev1.EventTypeWarning, Reason: "FailedCreate", Message: "pods is forbidden: exceeded quota: q",
			LastTimestamp: metav1.Now(),
		}))
		s.state(id, StateQueued, ReasonQuotaExceeded)
	})
	t.Run("mounts marked claims, and waits for those that cannot be", func(t *testing.T) {
		s := &stage{t, s.c}
		c := claim("shared", "not/absolute", corev1.ReadWriteOnce)
		c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
		unmarked := c.DeepCopy()
		unmarked.Name, unmarked.Labels = "unmarked", nil
		s.must(s.c.Create(t.Context(), &c))
		s.must(s.c.Create(t.Context(), unmarked))
		bad, good := jobID(7), jobID(8)
		s.job(bad)
		s.state(bad, StateQueued, ReasonInvalidVolume)
		c.Annotations[annotationMountPath] = "/mnt/nfs"
		s.must(s.c.Update(t.Context(), &c))
		for _, id := range []string{bad, good} {
			if id == good {
				s.job(id)
			}
			spec := s.jobSet(id).Spec.ReplicatedJobs[0].Template.Spec.Template.Spec
			var got []string
			for _, v := range spec.Volumes {
				if v.PersistentVolumeClaim != nil {
					got = append(got, v.PersistentVolumeClaim.ClaimName)
				}
			}
			if m := spec.Containers[0].VolumeMounts; len(got) != 1 || got[0] != "shared" || m[len(m)-1].MountPath != "/mnt/nfs" {
				t.Errorf("claims %v, mounts %v", got, m)
			}
		}
		s.must(s.c.Delete(t.Context(), &c))
	})
	t.Run("pulls with the default account's Secrets too", func(t *testing.T) {
		s := &stage{t, s.c}
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: "ml"}}
		_, err := controllerutil.CreateOrUpdate(t.Context(), s.c, account, func() error {
			account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "team"}, {Name: "extension"}}
			return nil
		})
		s.must(err)
		id := jobID(9)
		s.job(id)
		want := []corev1.LocalObjectReference{{Name: "extension"}, {Name: "team"}}
		if diff := cmp.Diff(want, s.jobSet(id).Spec.ReplicatedJobs[0].Template.Spec.Template.Spec.ImagePullSecrets); diff != "" {
			t.Errorf("secrets (-want +got):\n%s", diff)
		}
	})
	t.Run("gang template is valid", func(t *testing.T) {
		s := &stage{t, s.c}
		for i, servers := range []int32{0, 1, 2} {
			job := aJob(gangOf(3), func(j *v1alpha1.AmlJob) {
				j.Spec.Job.Options.CommonRuntimeJobSpec = fmt.Appendf(nil, `{"distribution":{"type":"TensorFlow","parameterServerCount":%d}}`, servers)
			})
			js, err := renderJobSet(job, *defaultType(), surroundings{}, testConfig(t))
			s.must(err)
			s.must(s.c.Create(t.Context(), &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("as-job-%d", i), Namespace: "ml"},
				Spec: js.Spec.ReplicatedJobs[0].Template.Spec}))
		}
	})
}
