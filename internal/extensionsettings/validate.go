package extensionsettings

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Texts of the reference.
const (
	textNothingEnabled = "To create Microsoft.AzureML.Kubernetes extension, either enable Machine Learning training or inference by specifying " +
		"'--configuration-settings enableTraining=true' or '--configuration-settings enableInference=true'."
	textNoTLS = "To enable HTTPs endpoint, either provide sslCertPemFile and sslKeyPemFile to --configuration-protected-settings, or " +
		"provide sslSecret(kubernetes secret name) in --configuration-settings containing both ssl cert and ssl key under azureml namespace. " +
		"Otherwise, to enable HTTP endpoint, explicitly set allowInsecureConnections=true."
	textNoName      = "To enable HTTPs endpoint, please specify sslCname parameter in --configuration-settings."
	textServiceType = "To use inference, please specify inferenceRouterServiceType=ClusterIP or inferenceRouterServiceType=NodePort or " +
		"inferenceRouterServiceType=LoadBalancer in --configuration-settings and also set internalLoadBalancerProvider=azure if your aks only supports internal load balancer."
	textNodePort    = "When using nodePort as inferenceRouterServiceType, no need to specify internalLoadBalancerProvider."
	textOnlyOne     = "Specify either privateEndpointNodeport=true or privateEndpointILB=true, but not both."
	textKeepsLabels = "Update operation can't remove an existed node selector, but can update or add new ones."
)

// Options say what the caller knows.
type Options struct {
	// Now is the time that certificates are checked against; the zero time leaves their dates unchecked, for an extension that is
	// there already.
	Now time.Time
	// KeepsProtected says that there may be protected settings that the caller cannot see.
	KeepsProtected bool
	// Stored are settings that were accepted before, perhaps by a release that knew others: those of them that are unknown are left
	// alone while they stay as they are.
	Stored Settings
}

// leaveStored takes away what is wrong with unknown settings that are stored.
func (s Settings) leaveStored(ps Problems, stored Settings) Problems {
	same := func(now, was map[string]string, key string) bool {
		old, ok := was[key]
		return ok && old == now[key]
	}
	return slices.DeleteFunc(ps, func(p Problem) bool {
		return p.Unknown && (p.Protected && same(s.Protected, stored.Protected, p.Key) || !p.Protected && same(s.Plain, stored.Plain, p.Key))
	})
}

// Validate says all that is wrong with the settings.
func (s Settings) Validate(o Options) Problems {
	if ps := s.leaveStored(s.CheckEach(), o.Stored); len(ps) > 0 {
		return ps // what depends on values that are wrong would only confuse
	}
	ps := s.checkVocabularies()
	on := s.Effective()
	if on["enableTraining"] != "True" && on["enableInference"] != "True" {
		ps = append(ps, Problem{Key: "enableTraining", Fix: textNothingEnabled})
	}
	ps = append(ps, s.checkRouter(on)...)
	return append(ps, s.checkTLS(on, o)...)
}

// Unknown are the keys that name no setting of this release.
func (s Settings) Unknown() []string {
	var out []string
	for _, p := range s.CheckEach() {
		if p.Unknown {
			out = append(out, p.Key)
		}
	}
	return out
}

// CheckEach says what is wrong with single settings, whatever the others are.
func (s Settings) CheckEach() Problems {
	var ps Problems
	spelt := map[string]string{}
	for _, key := range s.keys() {
		_, plain := s.Plain[key]
		_, protected := s.Protected[key]
		other, twice := spelt[spell(key)]
		spelt[spell(key)] = key
		switch {
		case plain && protected:
			ps = append(ps, Problem{Key: key, Fix: "Duplicate keys found. " + key + " is in configurationSettings and in configurationProtectedSettings; give it in one of them."})
		case twice:
			ps = append(ps, Problem{Key: key, Why: "is also given as " + other, Fix: "Leave one of them out."})
		default:
			ps = append(ps, s.checkOne(key, protected)...)
		}
	}
	return ps
}

func (s Settings) checkOne(key string, protected bool) Problems {
	row, known := find(spell(key))
	p := Problem{Key: key, Protected: protected}
	value := s.Plain[key]
	_, valid := row.kindOf(value)
	switch prefix := row.family(); {
	case !known:
		p.Unknown, p.Why, p.Fix = true, "is not a setting", "Settings are listed in 'fairlead k8s-extension create --help'."
		if near := meant(key); near != "" {
			p.Why, p.Fix = fmt.Sprintf("is not a setting; did you mean %q?", near), ""
		}
	case row.Below != nil && !row.Below.rule.MatchString(strings.TrimPrefix(spell(key), prefix)):
		p.Unknown, p.Why, p.Fix = true, "is not a setting", "After "+prefix+" comes "+row.Below.fix+"."
	case row.Protected && !protected:
		p.Why, p.Fix = "is a secret", "Give it in --configuration-protected-settings (configurationProtectedSettings)."
	case protected && !row.Protected:
		p.Why, p.Fix = "is not a secret", "Give it in --configuration-settings (configurationSettings)."
	case !valid:
		p.Value, p.Why, p.Fix = value, "is not "+row.Kind.Name, "Write "+row.Kind.fix+"."
		if row.Name == "inferenceRouterServiceType" {
			p.Fix = textServiceType
		}
	default:
		return nil
	}
	return Problems{p}
}

// kindOf checks a value; an empty one is as good as none.
func (s Setting) kindOf(value string) (string, bool) {
	if value == "" || s.Kind.canonical == nil {
		return value, true
	}
	return s.Kind.canonical(value)
}

// checkVocabularies refuses two names for one thing that say different things.
func (s Settings) checkVocabularies() Problems {
	var ps Problems
	if nodePort, _ := boolean.canonical(s.given("privateEndpointNodeport")); nodePort == "True" {
		if ilb, _ := boolean.canonical(s.given("privateEndpointILB")); ilb == "True" {
			return Problems{{Key: "privateEndpointILB", Value: s.given("privateEndpointILB"), Fix: textOnlyOne, Exclusive: true}}
		}
	}
	for _, st := range s.stands() {
		row, _ := find(st.name)
		value, _ := row.Kind.canonical(s.given(st.name))
		if !st.weak && value != "" && value != st.value {
			ps = append(ps, Problem{Key: st.key, Value: s.given(st.key), Why: fmt.Sprintf("means %s=%s, but %s=%q is given too", st.name, st.value, st.name, s.given(st.name)),
				Fix: "Leave one of them out.", Exclusive: true})
		}
	}
	return ps
}

func (s Settings) checkRouter(on map[string]string) Problems {
	if on["inferenceRouterServiceType"] == "nodePort" && s.given("internalLoadBalancerProvider") != "" {
		return Problems{{Key: "internalLoadBalancerProvider", Value: s.given("internalLoadBalancerProvider"), Fix: textNodePort, Exclusive: true}}
	}
	return nil
}

// CheckRemoval says why a setting may not be taken away by an update; nil when it may.
func CheckRemoval(key string) *Problem {
	if row, _ := find(spell(key)); row.Below != &nodeLabel {
		return nil
	}
	return &Problem{Key: key, Why: "cannot be removed", Fix: textKeepsLabels + " To be rid of it, create the extension again without it."}
}
