package relayserver

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/link"
)

// modelPod has one container, of that instance and in that state.
func modelPod(name, instance string, state corev1.ContainerState) corev1.Pod {
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID(name), Labels: map[string]string{v1alpha1.LabelDeployment: "digits-blue"}}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: v1alpha1.ServingContainer, ContainerID: instance, State: state}}
	return pod
}

var (
	runs     = corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	ended    = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error"}}
	waits    = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: "no such image"}}
	starting = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
)

// TestPlan: one step of a follower, from what it knows and what there is.
func TestPlan(t *testing.T) {
	for name, c := range map[string]struct {
		known map[types.UID]*followed
		pods  []corev1.Pod
		first bool
		want  []string
	}{
		"at first":                 {nil, []corev1.Pod{modelPod("b", "1", runs), modelPod("a", "2", runs)}, true, []string{"read a ", "read b "}},
		"a pod joins":              {nil, []corev1.Pod{modelPod("a", "", starting)}, false, []string{"tell a joined"}},
		"it runs":                  {map[types.UID]*followed{"a": {name: "a"}}, []corev1.Pod{modelPod("a", "1", runs)}, false, []string{"read a  late"}},
		"it goes on":               {map[types.UID]*followed{"a": {name: "a", instance: "1", reading: true}}, []corev1.Pod{modelPod("a", "1", runs)}, false, nil},
		"it ends, its log not yet": {map[types.UID]*followed{"a": {name: "a", instance: "1", reading: true}}, []corev1.Pod{modelPod("a", "1", ended)}, false, nil},
		"it has ended":             {map[types.UID]*followed{"a": {name: "a", instance: "1", whole: true}}, []corev1.Pod{modelPod("a", "1", ended)}, false, []string{"tell a container ended with exit code 1 (Error)"}},
		"that is said once":        {map[types.UID]*followed{"a": {name: "a", instance: "1", whole: true, said: "container ended with exit code 1 (Error)"}}, []corev1.Pod{modelPod("a", "1", ended)}, false, nil},
		"it starts again":          {map[types.UID]*followed{"a": {name: "a", instance: "1", whole: true}}, []corev1.Pod{modelPod("a", "2", runs)}, false, []string{"read a  late"}},
		"its log broke off":        {map[types.UID]*followed{"a": {name: "a", instance: "1"}}, []corev1.Pod{modelPod("a", "1", ended)}, false, []string{"read a  late"}},
		"its log ended too early":  {map[types.UID]*followed{"a": {name: "a", instance: "1", whole: true}}, []corev1.Pod{modelPod("a", "1", runs)}, false, []string{"read a  late"}},
		"it has no image":          {map[types.UID]*followed{"a": {name: "a"}}, []corev1.Pod{modelPod("a", "", waits)}, false, []string{"tell a container waits: ImagePullBackOff: no such image"}},
		"it is gone":               {map[types.UID]*followed{"a": {name: "a", instance: "1", whole: true}}, nil, false, []string{"tell a is gone"}},
		"gone, its log not yet":    {map[types.UID]*followed{"a": {name: "a", instance: "1", reading: true}}, nil, false, nil},
		"gone for long":            {map[types.UID]*followed{"a": {name: "a", instance: "1", reading: true, missed: maxMissed - 1}}, nil, false, []string{"cut  "}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.known == nil {
				c.known = map[types.UID]*followed{}
			}
			var got []string
			for _, a := range plan(c.known, c.pods, v1alpha1.ServingContainer, c.first) {
				line := fmt.Sprintf("%s %s %s", a.kind, a.pod, a.event)
				if a.late {
					line += " late"
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestPlan_ManyPods: pods that are too old to be followed are there all the same; what is read of them goes on.
func TestPlan_ManyPods(t *testing.T) {
	var pods []corev1.Pod
	for i := range maxLogPods + 1 {
		pods = append(pods, modelPod(fmt.Sprint("new", i), "1", runs))
	}
	known := map[types.UID]*followed{}
	plan(known, pods[1:], v1alpha1.ServingContainer, true)
	for range maxMissed + 1 {
		for _, a := range plan(known, pods, v1alpha1.ServingContainer, false) {
			if a.pod != "new0" {
				t.Errorf("%+v", a)
			}
		}
	}
	if k := known["new20"]; k == nil || !k.reading || k.missed > 0 {
		t.Errorf("the oldest: %+v", k)
	}
}

// following follows the serving container of digits-blue; done is closed when that has ended.
func following(t *testing.T, kube kubernetes.Interface, k *kubelet) (ours net.Conn, done chan struct{}) {
	t.Helper()
	s := New(kube, slog.New(slog.DiscardHandler))
	s.openLog, s.poll = k.open, time.Millisecond
	ours, theirs := net.Pipe()
	done = make(chan struct{})
	go func() {
		defer close(done)
		s.Handle(t.Context(), link.Target{Kind: link.KindFollow, Namespace: "team", Deployment: "digits-blue", Container: v1alpha1.ServingContainer, Tail: 7}, theirs)
	}()
	return ours, done
}

// TestFollow_StartsAgain: a container that has started again just before its log is opened is not read twice.
func TestFollow_StartsAgain(t *testing.T) {
	a := modelPod("a", "1", runs)
	kube := fake.NewClientset(&a)
	again := make(chan struct{})
	k := &kubelet{logs: map[string]func(*io.PipeWriter, *corev1.PodLogOptions){
		"a tail 7": func(w *io.PipeWriter, _ *corev1.PodLogOptions) {
			_, _ = io.WriteString(w, stamp(1, "one"))
			<-again
			w.Close()
		},
		"a since 01.5": func(w *io.PipeWriter, _ *corev1.PodLogOptions) {
			_, _ = io.WriteString(w, stamp(1, "one")+stamp(2, "two"))
		},
	}}
	ours, done := following(t, kube, k)
	r := bufio.NewReader(ours)
	for i, want := range []string{"{}", `"line":"one"`, `"line":"two"`} {
		if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, want) {
			t.Fatalf("%q %v, want %s", line, err, want)
		}
		if i == 1 {
			a.Status.ContainerStatuses[0].ContainerID = "2"
			if err := kube.Tracker().Update(corev1.SchemeGroupVersion.WithResource("pods"), &a, "team"); err != nil {
				t.Fatal(err)
			}
			close(again)
		}
	}
	ours.Close()
	<-done
}

// kubelet has the logs of containers; those that follow one get what is written later.
type kubelet struct {
	mu    sync.Mutex
	asked []string
	logs  map[string]func(w *io.PipeWriter, o *corev1.PodLogOptions)
}

func (k *kubelet) open(_ context.Context, _, pod string, o *corev1.PodLogOptions) (io.ReadCloser, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	ask := pod
	if o.TailLines != nil {
		ask += fmt.Sprintf(" tail %d", *o.TailLines)
	}
	if o.SinceTime != nil {
		ask += " since " + o.SinceTime.UTC().Format("05.9")
	}
	k.asked = append(k.asked, ask)
	write := k.logs[ask]
	if write == nil {
		return nil, errors.New("there is no log for " + ask)
	}
	r, w := io.Pipe()
	go write(w, o)
	return r, nil
}

func stamp(second int, line string) string {
	return fmt.Sprintf("2026-03-04T05:06:%02d.5Z %s\n", second, line)
}

// TestFollow: the log of a pod that breaks off is taken up where it was, a pod that comes later is read from its beginning, of one that is
// gone it is said, and the follower ends with its reader.
func TestFollow(t *testing.T) {
	a, b := modelPod("a", "1", runs), modelPod("b", "2", runs)
	kube := fake.NewClientset(&a)
	gone := make(chan struct{})
	k := &kubelet{logs: map[string]func(*io.PipeWriter, *corev1.PodLogOptions){
		"a tail 7": func(w *io.PipeWriter, _ *corev1.PodLogOptions) {
			_, _ = io.WriteString(w, stamp(1, "one")+stamp(2, "two <é>")+stamp(1, "stderr of before"))
			w.CloseWithError(io.ErrUnexpectedEOF)
		},
		"a since 02.5": func(w *io.PipeWriter, _ *corev1.PodLogOptions) {
			_, _ = io.WriteString(w, stamp(2, "two <é>")+stamp(1, "stderr of before")+stamp(3, strings.Repeat("x", link.MaxLogLine)))
			<-gone
			w.Close()
		},
		"b": func(w *io.PipeWriter, _ *corev1.PodLogOptions) { _, _ = io.WriteString(w, stamp(1, "another clock")) },
	}}
	ours, done := following(t, kube, k)
	r := bufio.NewReader(ours)
	next := func(want string) {
		t.Helper()
		raw, err := r.ReadBytes('\n')
		if err != nil {
			t.Fatalf("waiting for %.60q: %v", want, err)
		}
		var l link.PodLine
		if err := json.Unmarshal(raw, &l); err != nil || l.Container == "" && string(raw) != "{}\n" {
			t.Fatalf("%.100s: %v", raw, err)
		}
		if got := strings.TrimSpace(l.Pod + " " + l.Event + l.Text); got != want {
			t.Fatalf("got %.80q, want %.80q", got, want)
		}
	}
	next("")
	next("a one")
	next("a two <é>")
	next("a stderr of before")
	next("a " + strings.Repeat("x", link.MaxLogLine-len(stamp(3, ""))+1))
	next("a " + strings.Repeat("x", len(stamp(3, ""))-1))
	if err := kube.Tracker().Add(&b); err != nil {
		t.Fatal(err)
	}
	next("b joined")
	next("b another clock")
	if err := kube.Tracker().Delete(corev1.SchemeGroupVersion.WithResource("pods"), "team", "a"); err != nil {
		t.Fatal(err)
	}
	close(gone)
	next("a is gone")
	ours.Close()
	<-done
}

// TestFollow_Waits: a deployment without a pod is waited for, one that cannot be listed is refused.
func TestFollow_Waits(t *testing.T) {
	s := New(fake.NewClientset(), slog.New(slog.DiscardHandler))
	ours, theirs := net.Pipe()
	go s.Handle(t.Context(), link.Target{Kind: link.KindFollow, Namespace: "team", Deployment: "x", Container: v1alpha1.ServingContainer}, theirs)
	r := bufio.NewReader(ours)
	if opened, err := r.ReadString('\n'); err != nil || opened != "{}\n" {
		t.Fatal(opened, err)
	}
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, `"event":"there is no pod; waiting for one"`) {
		t.Fatal(line, err)
	}
	ours.Close()
}

// TestFollow_EndsWhileCut: logs end by themselves at the moment when they are cut.
func TestFollow_EndsWhileCut(t *testing.T) {
	for range 20 {
		f := &follower{s: New(fake.NewClientset(), slog.New(slog.DiscardHandler)), out: bufio.NewWriter(io.Discard), known: map[types.UID]*followed{}, cancels: map[types.UID]context.CancelFunc{}}
		for i := range 500 {
			uid := types.UID(fmt.Sprint(i))
			f.known[uid] = &followed{name: string(uid), reading: true, missed: maxMissed - 1}
			f.cancels[uid] = func() {}
		}
		var readers sync.WaitGroup
		for i := range 500 {
			readers.Go(func() { f.ended(types.UID(fmt.Sprint(i)), true) })
		}
		if err := f.act(t.Context(), nil, false, &readers); err != nil {
			t.Fatal(err)
		}
		readers.Wait()
	}
}
