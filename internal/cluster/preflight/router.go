package preflight

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/internal/extensionsettings"
)

// clouds are those whose controllers give load balancers, by the scheme of their nodes' provider ids. k3s brings its own.
var clouds = []string{"aws", "azure", "gce", "openstack", "digitalocean", "linode", "hcloud", "oci", "ocid1", "ibm", "alicloud", "scaleway", "vultr", "equinixmetal", "k3s"}

// balancers are controllers that give load balancers, by the name of their image.
var balancers = []string{"controller", "speaker"}

func serving(s Subject) bool { return s.on("enableInference") }

func provider(n corev1.Node) string {
	scheme, _, _ := strings.Cut(n.Spec.ProviderID, "://")
	return scheme
}

// balanced reports whether something in the cluster gives load balancers.
func balanced(f Facts) bool {
	return f.Balancers ||
		slices.ContainsFunc(f.Nodes, func(n corev1.Node) bool { return slices.Contains(clouds, provider(n)) }) ||
		slices.ContainsFunc(f.Workloads, func(w Workload) bool {
			metallb := image(balancers...)(w) && strings.Contains(strings.Join(w.Images, " "), "metallb")
			return metallb || image("kube-vip", "kube-vip-cloud-provider", "klipper-lb", "cloud-controller-manager", "cloud-controller", "cloud-provider-kind")(w)
		})
}

func checkLoadBalancer(s Subject, f Facts) []Finding {
	on := s.Settings.Effective()
	if !serving(s) || on["inferenceRouterServiceType"] != "loadBalancer" {
		return nil
	}
	azure := slices.ContainsFunc(f.Nodes, func(n corev1.Node) bool { return provider(n) == "azure" })
	switch {
	case on["internalLoadBalancerProvider"] == "azure" && !azure:
		return one(found(InternalNotSupport, s.update("internalLoadBalancerProvider="), "internalLoadBalancerProvider is azure, and no node of the cluster is Azure's"))
	case !balanced(f):
		return one(found(LoadBalancerNotSupport, s.update("inferenceRouterServiceType=nodePort"),
			"inferenceRouterServiceType is loadBalancer, and nothing in the cluster gives a Service a load balancer: no cloud, MetalLB, kube-vip or the like was found"))
	}
	return nil
}

// routers is how many routers inferenceRouterHA makes, each on a node of its own.
const routers = 3

func checkReplicas(s Subject, f Facts) []Finding {
	nodes := len(open(s, f))
	if !serving(s) || !s.on("inferenceRouterHA") || nodes == 0 || nodes >= routers {
		return nil
	}
	finding := found(InsufficientNode, "add nodes, or say so for good: "+s.update("inferenceRouterHA=False"),
		"inferenceRouterHA wants %d nodes, and the extension's pods can go to %d: one router is made", routers, nodes)
	finding.Level = Warning
	finding.Values = map[string]any{"inferenceRouterHA": "False"}
	return one(finding)
}

// checkTLS reads the Secret that is named, or else the certificate that is given. One that has run out since it was installed
// keeps nothing from being upgraded.
func checkTLS(s Subject, f Facts) []Finding {
	if !serving(s) || s.on("allowInsecureConnections") {
		return nil
	}
	on := s.Settings.Effective()
	name := on["sslSecret"]
	if name == "" {
		return s.tlsProblem(s.Settings.Validate(extensionsettings.Options{Now: s.Now, Stored: s.Settings}), s.protect("sslCertPemFile=cert.pem sslKeyPemFile=key.pem"))
	}
	renew := fmt.Sprintf("kubectl create secret generic %s -n %s --from-file=cert.pem --from-file=key.pem --dry-run=client -o yaml | kubectl apply -f -", name, s.Namespace)
	if f.TLS == nil {
		return one(found(InvalidTLS, renew, "sslSecret=%q: Secret %s/%s is not there", name, s.Namespace, name))
	}
	cert, key := either(f.TLS, "cert.pem", corev1.TLSCertKey), either(f.TLS, "key.pem", corev1.TLSPrivateKeyKey)
	if len(cert) == 0 || len(key) == 0 {
		return one(found(InvalidTLS, renew, "sslSecret=%q: Secret %s/%s has not both cert.pem and key.pem, nor both tls.crt and tls.key", name, s.Namespace, name))
	}
	p := extensionsettings.CheckPair(cert, key, on["sslCname"], s.Now)
	if p == nil {
		return nil
	}
	p.Key = fmt.Sprintf("sslSecret=%q: in Secret %s/%s", name, s.Namespace, name)
	p.Why = strings.NewReplacer("(sslCertPemFile)", "the certificate", "(sslKeyPemFile)", "the key").Replace(p.Why)
	return s.tlsProblem(extensionsettings.Problems{*p}, renew)
}

func (s Subject) tlsProblem(ps extensionsettings.Problems, fix string) []Finding {
	if len(ps) == 0 {
		return nil
	}
	f := found(InvalidTLS, fix, "%s", strings.TrimSuffix(ps[0].Key+" "+cmp.Or(ps[0].Why, ps[0].Fix), "."))
	if s.Phase == PreUpgrade {
		f.Level = Warning
	}
	return one(f)
}

func either(s *corev1.Secret, keys ...string) []byte {
	for _, k := range keys {
		if len(s.Data[k]) > 0 {
			return s.Data[k]
		}
	}
	return nil
}

// checkRouter looks for another installation's router in the release namespace.
func checkRouter(s Subject, f Facts) []Finding {
	if !serving(s) {
		return nil
	}
	var out []Finding
	for _, o := range f.Existing {
		if o.Name != "azureml-fe" || o.Release == s.Release && o.ReleaseNamespace == s.Namespace {
			continue
		}
		code := RouterConflict
		if strings.HasPrefix(o.Kind, "ClusterRole") {
			code = RouterRoleConflict
		}
		out = append(out, found(code, adopt(s, o), "%s belongs to another installation", o))
	}
	return out
}
