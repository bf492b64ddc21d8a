package relayserver

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/link"
)

const id = "0123456789abcdef0123456789abcdef"

func runPod(name, rank, ip string, phase corev1.PodPhase, age time.Duration) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1e9, 0).Add(-age)), Labels: map[string]string{v1alpha1.LabelJobID: id, v1alpha1.LabelRank: rank}},
		Status:     corev1.PodStatus{Phase: phase, PodIP: ip},
	}
}

func TestHandle(t *testing.T) {
	cases := map[string]struct {
		target  link.Target
		pods    []*corev1.Pod
		address string
		refused string
	}{
		"the pod of the rank": {
			link.Target{Kind: "run", Namespace: "team", JobID: id, Rank: 1},
			[]*corev1.Pod{runPod("a", "0", "10.0.0.1", corev1.PodRunning, 0), runPod("b", "1", "10.0.0.2", corev1.PodRunning, 0)},
			"10.0.0.2:13333", "",
		},
		"the newest after a restart": {
			link.Target{Kind: "run", Namespace: "team", JobID: id},
			[]*corev1.Pod{runPod("old", "0", "10.0.0.1", corev1.PodRunning, time.Hour), runPod("new", "0", "10.0.0.2", corev1.PodRunning, 0)},
			"10.0.0.2:13333", "",
		},
		"none runs": {
			link.Target{Kind: "run", Namespace: "team", JobID: id},
			[]*corev1.Pod{runPod("a", "0", "", corev1.PodPending, 0), runPod("b", "0", "10.0.0.3", corev1.PodSucceeded, 0)},
			"", "no pod of rank 0",
		},
		"another namespace":  {link.Target{Kind: "run", Namespace: "other", JobID: id}, []*corev1.Pod{runPod("a", "0", "10.0.0.1", corev1.PodRunning, 0)}, "", "no pod of rank 0"},
		"another kind":       {link.Target{Kind: "exec", Namespace: "team", JobID: id}, nil, "", "not allowed"},
		"selector injection": {link.Target{Kind: "run", Namespace: "team", JobID: id[:31] + ",a!=b"}, nil, "", "not 32 hex digits"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			kube := fake.NewClientset()
			for _, p := range c.pods {
				if err := kube.Tracker().Add(p); err != nil {
					t.Fatal(err)
				}
			}
			dialled := ""
			s := New(kube, slog.New(slog.DiscardHandler))
			s.dial = func(_ context.Context, _, address string) (net.Conn, error) {
				dialled = address
				near, far := net.Pipe()
				go func() { // an echo server
					_, _ = io.Copy(far, far)
					_ = far.Close()
				}()
				return near, nil
			}
			ours, theirs := net.Pipe()
			done := make(chan struct{})
			go func() { defer close(done); s.Handle(t.Context(), c.target, theirs); _ = theirs.Close() }()
			r := bufio.NewReader(ours)
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			var opened link.Opened
			if err := json.Unmarshal([]byte(line), &opened); err != nil {
				t.Fatal(err)
			}
			if (c.refused == "") != (opened.Error == "") || !strings.Contains(opened.Error, c.refused) || dialled != c.address {
				t.Fatalf("answer %q, dialled %q", opened.Error, dialled)
			}
			if c.refused == "" {
				echo(t, ours, r)
			}
			_ = ours.Close()
			<-done
		})
	}
}

func echo(t *testing.T, w io.Writer, r *bufio.Reader) {
	t.Helper()
	if _, err := io.WriteString(w, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := r.ReadString('\n'); err != nil || got != "hello\n" {
		t.Fatalf("echo %q, %v", got, err)
	}
}

func TestHandleLog(t *testing.T) {
	pod := func(name, deployment string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, Labels: map[string]string{v1alpha1.LabelDeployment: deployment}}}
	}
	target := func(deployment string) link.Target {
		return link.Target{Kind: link.KindLog, Namespace: "team", Deployment: deployment, Container: v1alpha1.ServingContainer, Tail: 10}
	}
	for name, c := range map[string]struct {
		target link.Target
		want   string
	}{
		"both pods":  {target("digits-blue-1"), "{}\n==> pod a <==\nfake logs==> pod b <==\nfake logs"},
		"no pod":     {target("digits-green-1"), `{"error":"deployment digits-green-1 has no pod in namespace team"}` + "\n"},
		"other kind": {link.Target{Kind: link.KindKube, User: "6f9619ff-8b86-d011-b42d-00c04fc964ff", UserKind: "User"}, `{"error":"relays of the extension do not serve targets of kind \"kube\""}` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(fake.NewClientset(pod("b", "digits-blue-1"), pod("a", "digits-blue-1"), pod("c", "other")), slog.New(slog.DiscardHandler))
			ours, theirs := net.Pipe()
			go func() { s.Handle(t.Context(), c.target, theirs); _ = theirs.Close() }()
			got, err := io.ReadAll(ours)
			if err != nil || string(got) != c.want {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}
