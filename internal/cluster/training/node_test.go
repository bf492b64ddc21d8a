package training

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	jobset "sigs.k8s.io/jobset/api/jobset/v1alpha2"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

const taintManager = "DeletionByTaintManager"

func deletionAt(second int) func(*corev1.Pod) {
	return func(p *corev1.Pod) { d := at(second); p.DeletionTimestamp = &d }
}

func inPhase(phase corev1.PodPhase) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Phase = phase }
}

// TestForsaken has pods on a node that is away since second 20; it is second 100.
func TestForsaken(t *testing.T) {
	silent := map[string]nodeTrouble{"node-1": {silent: true, since: t0.Add(20 * time.Second), why: "Kubelet stopped posting node status"}}
	unready := map[string]nodeTrouble{"node-1": {since: t0.Add(20 * time.Second), why: "container runtime is down"}}
	running := aJobSet()
	tests := map[string]struct {
		nodes map[string]nodeTrouble
		js    *jobset.JobSet
		pod   corev1.Pod
		want  string // fail, remove or nothing
		again time.Duration
	}{
		"not told to end":                 {silent, running, aPod(0, running0), "", 0},
		"evicted from a silent node":      {silent, running, aPod(0, running0, deletionAt(150), disrupted(taintManager)), "fail", 0},
		"evicted from a node that speaks": {unready, running, aPod(0, running0, deletionAt(150), disrupted(taintManager)), "", 50 * time.Second},
		"which never comes to do it":      {unready, running, aPod(0, running0, deletionAt(99), disrupted(taintManager)), "fail", 0},
		"deleted on a silent node":        {silent, running, aPod(0, running0, deletionAt(130)), "", 30 * time.Second},
		"grace is over":                   {silent, running, aPod(0, running0, deletionAt(100)), "fail", 0},
		"node is well":                    {nil, running, aPod(0, running0, deletionAt(1), disrupted(taintManager)), "", 0},
		"failed, to be judged":            {silent, running, aPod(0, running0, deletionAt(1), inPhase(corev1.PodFailed)), "", 0},
		"failed, the gang starts again":   {silent, aJobSet(restarted(1)), aPod(0, running0, deletionAt(1), inPhase(corev1.PodFailed)), "remove", eventPoll},
		"failed, the job is canceled":     {silent, aJobSet(beingDeleted), aPod(0, running0, deletionAt(1), inPhase(corev1.PodFailed)), "remove", 0},
		"failed, the JobSet is gone":      {silent, nil, aPod(0, running0, deletionAt(1), inPhase(corev1.PodFailed)), "remove", 0},
		"removed, but not yet gone": {silent, nil, aPod(0, running0, deletionAt(1), inPhase(corev1.PodFailed), func(p *corev1.Pod) {
			p.DeletionGracePeriodSeconds = new(int64)
		}), "", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := world{job: aJob(created, inState(StateRunning)), jobSet: tt.js, pods: []corev1.Pod{tt.pod}, nodes: tt.nodes, now: t0.Add(100 * time.Second)}
			d := decide(w)
			got := ""
			for _, f := range d.forsaken {
				got = map[bool]string{true: "remove", false: "fail"}[f.remove]
				if !f.remove && !strings.Contains(f.why, "node node-1 of pod pod-0 is not ready since 2026-05-01 12:00:20 UTC (") {
					t.Errorf("why: %s", f.why)
				}
			}
			if got != tt.want || d.again != tt.again {
				t.Errorf("%q, again after %s; want %q, %s", got, d.again, tt.want, tt.again)
			}
		})
	}
}

func running0(p *corev1.Pod) { running(true, 5)(p) }

func TestNodeLossIsTold(t *testing.T) {
	silent := map[string]nodeTrouble{"node-1": {silent: true, since: t0.Add(20 * time.Second), why: "Kubelet stopped posting node status"}}
	const told = "node node-1 of pod pod-0 is not ready since 2026-05-01 12:00:20 UTC (Kubelet stopped posting node status); "
	marked := func(p *corev1.Pod) {
		p.Status.Phase, p.Status.Reason, p.Status.Message = corev1.PodFailed, ReasonNodeLost, strings.TrimSuffix(told, "; ")
	}
	tests := map[string]struct {
		restarts, attempt int32
		pod               corev1.Pod
		failed            bool
		state, message    string
	}{
		"no restart":   {0, 0, aPod(0, running0), false, StateRunning, told + "if it does not come back soon, the job fails"},
		"restart":      {1, 0, aPod(0, running0), false, StateRunning, told + "if it does not come back soon, the job starts again on another node"},
		"not yet run":  {1, 0, aPod(0, onNode), false, StateQueued, told + "if it does not come back soon, the job starts again on another node"},
		"used up":      {1, 1, aPod(0, attempt("1"), running0), false, StateRunning, told + "if it does not come back soon, the job fails"},
		"given up":     {1, 0, aPod(0, running0, podDeleted, disrupted(taintManager), marked), false, StateRunning, told + "the job starts again when Kubernetes has confirmed that the pod ended"},
		"failed":       {0, 0, aPod(0, running0, podDeleted, disrupted(taintManager), marked), true, StateFailed, told + "the job allows no restart"},
		"failed again": {1, 1, aPod(0, attempt("1"), running0, podDeleted, disrupted(taintManager), marked), true, StateFailed, told + "all 1 restarts are used up"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			js := aJobSet(restarted(tt.attempt))
			if tt.failed {
				has(jobset.JobSetFailed)(js)
			}
			job := aJob(restarts(tt.restarts), created, inState(StateRunning), func(j *v1alpha1.AmlJob) { j.Status.Attempt = tt.attempt })
			s := decide(world{job: job, jobSet: js, pods: []corev1.Pod{tt.pod}, nodes: silent, now: t0.Add(100 * time.Second)}).status
			if s.State != tt.state || s.Reason != ReasonNodeLost || s.Message != tt.message {
				t.Errorf("%s, %s: %q; want %s, %q", s.State, s.Reason, s.Message, tt.state, tt.message)
			}
		})
	}
}

func TestLostTolerations(t *testing.T) {
	own := []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists},
		{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}}
	got := lostTolerations(own, 90*time.Second)
	if len(got) != 1 || got[0].Key != corev1.TaintNodeUnreachable || *got[0].TolerationSeconds != 90 {
		t.Errorf("tolerations %+v", got)
	}
	if got := lostTolerations([]corev1.Toleration{{Operator: corev1.TolerationOpExists}}, time.Minute); len(got) != 0 {
		t.Errorf("a type that tolerates all taints got %+v", got)
	}
}

// lostNode plays a node that dies under a pod: the test is the node lifecycle controller and the taint manager.
func (s *stage) lostNode(id string) {
	s.t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}
	s.must(s.c.Create(s.t.Context(), n))
	s.job(id, restarts(1))
	p := s.pod(id, "0", running(true, 5))
	s.state(id, StateRunning, "")
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown, LastTransitionTime: metav1.Now(), Message: "Kubelet stopped posting node status."}}
	s.must(s.c.Status().Update(s.t.Context(), n))
	if j := s.state(id, StateRunning, ReasonNodeLost); !strings.Contains(j.Status.Message, "node node-1") {
		s.t.Errorf("message %q", j.Status.Message)
	}
	s.podStatus(p, disrupted(taintManager))
	s.must(s.c.Delete(s.t.Context(), p))
	p = until(s, p, &corev1.PodList{}, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if p.Status.Reason != ReasonNodeLost || p.DeletionTimestamp == nil {
		s.t.Errorf("pod status %+v", p.Status)
	}
	js := s.jobSet(id)
	js.Status.Restarts = 1 // plays JobSet's controller
	s.must(s.c.Status().Update(s.t.Context(), js))
	s.gone(p)

	id = jobID('e' - '0') // ends with its node, and leaves nothing there
	s.job(id)
	p = s.pod(id, "0", running(true, 5))
	s.state(id, StateRunning, ReasonNodeLost)
	s.podStatus(p, disrupted(taintManager))
	s.must(s.c.Delete(s.t.Context(), p))
	p = until(s, p, &corev1.PodList{}, func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	s.finish(id, jobset.JobSetFailed)
	s.state(id, StateFailed, ReasonNodeLost)
	s.gone(p)
	s.must(s.c.Delete(s.t.Context(), n))
}

// TestLeftBehind has pods of a job that is over on a node that is away since second 20; it is second 100.
func TestLeftBehind(t *testing.T) {
	silent := map[string]nodeTrouble{"node-1": {silent: true}}
	unready := map[string]nodeTrouble{"node-1": {}}
	for name, tt := range map[string]struct {
		nodes  map[string]nodeTrouble
		pod    corev1.Pod
		remove bool
		again  time.Duration
	}{
		"not told to end":       {silent, aPod(0, running0, inPhase(corev1.PodFailed)), false, 0},
		"has ended":             {silent, aPod(0, running0, inPhase(corev1.PodFailed), deletionAt(130)), true, 0},
		"runs, for all we know": {silent, aPod(0, running0, deletionAt(130)), false, 30 * time.Second},
		"grace is over":         {silent, aPod(0, running0, deletionAt(100)), true, 0},
		"the node speaks":       {unready, aPod(0, running0, inPhase(corev1.PodFailed), deletionAt(130)), false, 30 * time.Second},
		"and never does it":     {unready, aPod(0, running0, inPhase(corev1.PodFailed), deletionAt(90)), true, 0},
		"the node is well":      {nil, aPod(0, running0, inPhase(corev1.PodFailed), deletionAt(90)), false, 0},
		"removed already":       {silent, aPod(0, running0, deletionAt(90), func(p *corev1.Pod) { p.DeletionGracePeriodSeconds = new(int64) }), false, 0},
	} {
		got, again := leftBehind([]corev1.Pod{tt.pod}, tt.nodes, t0.Add(100*time.Second))
		if (len(got) == 1) != tt.remove || again != tt.again {
			t.Errorf("%s: %d to remove, again after %s; want %t, %s", name, len(got), again, tt.remove, tt.again)
		}
	}
}

// gone waits until an object is no more.
func (s *stage) gone(o client.Object) {
	s.t.Helper()
	key := client.ObjectKeyFromObject(o)
	for deadline := time.Now().Add(time.Minute); ; <-time.After(20 * time.Millisecond) {
		err := s.c.Get(s.t.Context(), key, o)
		if apierrors.IsNotFound(err) {
			return
		}
		if s.must(err); time.Now().After(deadline) {
			s.t.Fatalf("%T %s is still there", o, key)
		}
	}
}
