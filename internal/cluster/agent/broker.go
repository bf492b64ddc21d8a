package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/fairlead/internal/cluster/component"
)

const (
	brokerManager = "fairlead-agent"
	// brokerLabel marks the Secrets that the broker renews.
	brokerLabel = "fairlead.dev/link"
	// extensionScope asks for a token of an extension's components.
	extensionScope = "extension"
	// brokerInterval is how often the broker looks for tokens whose half life is over.
	brokerInterval = 30 * time.Second
)

// Broker gives the components of an extension a token of their own: Secret fairlead-link in the release namespace. They never
// see the cluster's private key.
type Broker struct {
	kube     kubernetes.Interface
	fetch    func(ctx context.Context, scope string) (Token, error)
	endpoint string
	ca       []byte
	clock    func() time.Time
	log      *slog.Logger
	renewed  sync.Map // namespaces that this process has renewed
}

// Prepare makes the namespace and a fresh Secret in it.
func (b *Broker) Prepare(ctx context.Context, namespace string) error {
	_, err := b.kube.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: map[string]string{"app.kubernetes.io/managed-by": brokerManager}}}
		_, err = b.kube.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{FieldManager: brokerManager})
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("making namespace %s: %w", namespace, err)
	}
	old, err := b.kube.CoreV1().Secrets(namespace).Get(ctx, component.LinkSecret, metav1.GetOptions{})
	if err == nil && !b.due(old) {
		return nil
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("reading Secret %s/%s: %w", namespace, component.LinkSecret, err)
	}
	return b.renew(ctx, namespace)
}

// Forget deletes the Secret of a namespace.
func (b *Broker) Forget(ctx context.Context, namespace string) error {
	err := b.kube.CoreV1().Secrets(namespace).Delete(ctx, component.LinkSecret, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting Secret %s/%s: %w", namespace, component.LinkSecret, err)
	}
	return nil
}

// Distrust makes every Secret due: the agent's own token was refused, and the same key signed theirs.
func (b *Broker) Distrust() { b.renewed.Clear() }

// Run renews every Secret at half its token's life, until ctx ends.
func (b *Broker) Run(ctx context.Context) error {
	tick := time.NewTicker(brokerInterval)
	defer tick.Stop()
	for {
		if err := b.renewAll(ctx); err != nil && ctx.Err() == nil {
			b.log.Warn("renewing extensions' tokens; will try again", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (b *Broker) renewAll(ctx context.Context) error {
	list, err := b.kube.CoreV1().Secrets(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: brokerLabel})
	if err != nil {
		return fmt.Errorf("listing Secrets: %w", err)
	}
	var errs []error
	for i := range list.Items {
		if b.due(&list.Items[i]) {
			errs = append(errs, b.renew(ctx, list.Items[i].Namespace))
		}
	}
	return errors.Join(errs...)
}

// due reports whether a Secret must be renewed. One that an earlier agent left may hold a token of a cluster that was deleted and
// had the same name, which the control plane refuses.
func (b *Broker) due(s *corev1.Secret) bool {
	_, renewed := b.renewed.Load(s.Namespace)
	return !renewed || b.stale(s)
}

// stale reports whether a Secret's token is past its half life or speaks of another control plane.
func (b *Broker) stale(s *corev1.Secret) bool {
	renew, err := time.Parse(time.RFC3339, s.Annotations[renewAnnotation])
	return err != nil || !b.clock().Before(renew) || string(s.Data[component.KeyEndpoint]) != b.endpoint || string(s.Data[component.KeyCA]) != string(b.ca)
}

// renewAnnotation says when half of the token's life is over.
const renewAnnotation = "fairlead.dev/renew-after"

func (b *Broker) renew(ctx context.Context, namespace string) error {
	token, err := b.fetch(ctx, extensionScope)
	if err != nil {
		return fmt.Errorf("getting a token for namespace %s: %w", namespace, err)
	}
	data := map[string][]byte{component.KeyToken: []byte(token.Value), component.KeyEndpoint: []byte(b.endpoint)}
	if len(b.ca) > 0 {
		data[component.KeyCA] = b.ca
	}
	secret := applycore.Secret(component.LinkSecret, namespace).
		WithLabels(map[string]string{brokerLabel: "true"}).
		WithAnnotations(map[string]string{renewAnnotation: token.Renew.UTC().Format(time.RFC3339)}).
		WithData(data)
	_, err = b.kube.CoreV1().Secrets(namespace).Apply(ctx, secret, metav1.ApplyOptions{FieldManager: brokerManager, Force: true})
	if err != nil {
		return fmt.Errorf("writing Secret %s/%s: %w", namespace, component.LinkSecret, err)
	}
	b.renewed.Store(namespace, true)
	b.log.Info("renewed token", "namespace", namespace, "expires", token.Expires)
	return nil
}
