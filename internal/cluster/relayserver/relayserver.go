// Package relayserver is the cluster's end of live streams: the control plane names a job's pod and gets a byte pipe to the file
// server of the runtime inside, or names a container of an online deployment and gets its log. Nothing else in the cluster can be
// reached through it.
package relayserver

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/link"
)

// dialTimeout bounds finding and dialling a pod.
const dialTimeout = 10 * time.Second

// Server answers the control plane's targets.
type Server struct {
	kube kubernetes.Interface
	log  *slog.Logger
	port int
	dial func(ctx context.Context, network, address string) (net.Conn, error)
	// openLog reads a pod's log; poll is how often a follower looks for pods.
	openLog func(ctx context.Context, namespace, pod string, o *corev1.PodLogOptions) (io.ReadCloser, error)
	poll    time.Duration
}

// New makes a Server.
func New(kube kubernetes.Interface, log *slog.Logger) *Server {
	open := func(ctx context.Context, namespace, pod string, o *corev1.PodLogOptions) (io.ReadCloser, error) {
		return kube.CoreV1().Pods(namespace).GetLogs(pod, o).Stream(ctx)
	}
	return &Server{kube: kube, log: log, port: commonruntime.LogPort, dial: (&net.Dialer{}).DialContext, openLog: open, poll: 2 * time.Second}
}

// Handle serves one stream; link.ServeRelay calls it with a target that link has validated.
func (s *Server) Handle(ctx context.Context, t link.Target, stream net.Conn) {
	if send := map[string]func(context.Context, link.Target, net.Conn) error{link.KindLog: s.logs, link.KindFollow: s.follow}[t.Kind]; send != nil {
		if err := send(ctx, t, stream); err != nil {
			s.log.Info("log not sent", "namespace", t.Namespace, "deployment", t.Deployment, "container", t.Container, "error", err)
		}
		return
	}
	backend, err := s.open(ctx, t)
	if answerErr := link.AnswerTarget(stream, err); err != nil || answerErr != nil {
		s.log.Info("relay target not opened", "kind", t.Kind, "job", t.JobID, "rank", t.Rank, "error", err)
		if backend != nil {
			_ = backend.Close()
		}
		return
	}
	link.Pipe(ctx, stream, backend)
}

func (s *Server) open(ctx context.Context, t link.Target) (net.Conn, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	if t.Kind != link.KindRun {
		return nil, fmt.Errorf("relays of the extension do not serve targets of kind %q", t.Kind)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	rank := strconv.Itoa(t.Rank)
	pods, err := s.kube.CoreV1().Pods(t.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: labels.Set{v1alpha1.LabelJobID: t.JobID, v1alpha1.LabelRank: rank}.String(),
	})
	if err != nil {
		return nil, fmt.Errorf("finding the pod of rank %d of job %s: %w", t.Rank, t.JobID, err)
	}
	pod := pick(pods.Items)
	if pod == nil {
		return nil, fmt.Errorf("no pod of rank %d of job %s runs in namespace %s", t.Rank, t.JobID, t.Namespace)
	}
	conn, err := s.dial(ctx, "tcp", net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(s.port)))
	if err != nil {
		return nil, fmt.Errorf("connecting to pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return conn, nil
}

// pick chooses the newest pod that runs; after a restart an older one may still be ending.
func pick(pods []corev1.Pod) *corev1.Pod {
	var best *corev1.Pod
	for i := range pods {
		p := &pods[i]
		if p.Status.Phase != corev1.PodRunning || p.Status.PodIP == "" || p.DeletionTimestamp != nil {
			continue
		}
		if best == nil || best.CreationTimestamp.Before(&p.CreationTimestamp) {
			best = p
		}
	}
	return best
}
