package preflight

import (
	"context"
	"strconv"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// page bounds how many pods are held in memory at once.
const page = 500

// gatherer reads facts; what cannot be read is noted and taken for absent.
type gatherer struct {
	ctx  context.Context
	kube kubernetes.Interface
	s    Subject
	f    Facts
}

// Gather reads all facts of a cluster but those that the caller knows: Existing, Unreachable and Ahead.
func Gather(ctx context.Context, kube kubernetes.Interface, s Subject) Facts {
	g := &gatherer{ctx: ctx, kube: kube, s: s, f: Facts{Requested: map[string]Amount{}}}
	for _, part := range []struct {
		what string
		read func() error
	}{
		{"the API server's version", g.version},
		{"the API server's groups", g.groups},
		{"the agent's rights", g.rights},
		{"nodes", g.nodes},
		{"pods", g.pods},
		{"the autoscaler's status", g.autoscaler},
		{"workloads", g.workloads},
		{"services", g.services},
		{"runtime classes", g.runtimes},
		{"admission webhooks", g.webhooks},
		{"the release namespace", g.namespace},
		{"limits of the release namespace", g.limits},
		{"secrets of the release namespace", g.secrets},
		{"the agent's pods", g.agent},
		{"Kueue's configuration", g.kueue},
	} {
		if err := part.read(); err != nil {
			g.f.Unread = append(g.f.Unread, Unread{part.what, err})
		}
	}
	return g.f
}

func (g *gatherer) version() error {
	v, err := g.kube.Discovery().ServerVersion()
	if err != nil {
		return err
	}
	g.f.Version = v.GitVersion
	if g.f.Major, err = strconv.Atoi(v.Major); err != nil {
		return err
	}
	g.f.Minor, err = strconv.Atoi(strings.TrimRight(v.Minor, "+"))
	return err
}

func (g *gatherer) groups() error {
	list, err := g.kube.Discovery().ServerGroups()
	if err != nil {
		return err
	}
	g.f.Groups = map[string][]string{}
	for _, group := range list.Groups {
		for _, v := range group.Versions {
			g.f.Groups[group.Name] = append(g.f.Groups[group.Name], v.Version)
		}
	}
	return nil
}

func (g *gatherer) rights() error {
	g.f.Allowed = true // until the API server says otherwise
	review, err := g.kube.AuthorizationV1().SelfSubjectAccessReviews().Create(g.ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "*", Group: "*", Resource: "*"}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	g.f.Allowed = review.Status.Allowed
	return nil
}

func (g *gatherer) nodes() error {
	list, err := g.kube.CoreV1().Nodes().List(g.ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	g.f.Nodes = list.Items
	return nil
}

func (g *gatherer) pods() error {
	options := metav1.ListOptions{Limit: page, FieldSelector: "status.phase!=Succeeded,status.phase!=Failed"}
	for {
		list, err := g.kube.CoreV1().Pods(metav1.NamespaceAll).List(g.ctx, options)
		if err != nil {
			return err
		}
		for _, p := range list.Items {
			for _, c := range p.Spec.Containers {
				g.f.Requested[p.Spec.NodeName] = g.f.Requested[p.Spec.NodeName].plus(amountOf(c.Resources.Requests))
			}
		}
		if options.Continue = list.Continue; options.Continue == "" {
			return nil
		}
	}
}

func (g *gatherer) autoscaler() error {
	_, err := g.kube.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(g.ctx, "cluster-autoscaler-status", metav1.GetOptions{})
	g.f.Autoscaler = err == nil
	return absent(err)
}

func (g *gatherer) runtimes() error {
	_, err := g.kube.NodeV1().RuntimeClasses().Get(g.ctx, "nvidia", metav1.GetOptions{})
	g.f.NvidiaRuntime = err == nil
	return absent(err)
}

// absent makes no error of what is not there.
func absent(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (g *gatherer) namespace() error {
	ns, err := g.kube.CoreV1().Namespaces().Get(g.ctx, g.s.Namespace, metav1.GetOptions{})
	if err == nil {
		g.f.Namespace = ns
	}
	return absent(err)
}

func (g *gatherer) limits() error {
	quotas, err := g.kube.CoreV1().ResourceQuotas(g.s.Namespace).List(g.ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	limits, err := g.kube.CoreV1().LimitRanges(g.s.Namespace).List(g.ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	policies, err := g.kube.NetworkingV1().NetworkPolicies(g.s.Namespace).List(g.ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	g.f.Quotas, g.f.Limits, g.f.Policies = quotas.Items, limits.Items, policies.Items
	return nil
}

// secrets reads the two that settings name, and no others.
func (g *gatherer) secrets() error {
	get := func(name string) (*corev1.Secret, error) {
		if name == "" {
			return nil, nil
		}
		s, err := g.kube.CoreV1().Secrets(g.s.Namespace).Get(g.ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, absent(err)
		}
		return s, nil
	}
	var err error
	if g.f.TLS, err = get(g.s.Settings.Effective()["sslSecret"]); err != nil {
		return err
	}
	pull, err := get(g.s.PullSecret)
	g.f.PullSecret = pull != nil
	return err
}

func (g *gatherer) agent() error {
	list, err := g.kube.CoreV1().Pods(g.s.AgentNamespace).List(g.ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=fairlead-agent"})
	if err != nil {
		return err
	}
	g.f.Agent = list.Items
	return nil
}

func (g *gatherer) kueue() error {
	w := g.f.foreign(g.s, image("kueue"))
	if w == nil {
		return nil
	}
	cm, err := g.kube.CoreV1().ConfigMaps(w.Namespace).Get(g.ctx, "kueue-manager-config", metav1.GetOptions{})
	if err != nil {
		return absent(err)
	}
	g.f.Kueue = cm.Data["controller_manager_config.yaml"]
	return nil
}
