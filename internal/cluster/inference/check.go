package inference

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/workload"
)

// check says what of a deployment cannot be had as it is written; "" when all can. It gives the resources of each pod.
func check(od *v1alpha1.OnlineDeployment, it *workload.InstanceType) (resources corev1.ResourceRequirements, wrong string) {
	if it == nil {
		return resources, fmt.Sprintf("instance type %q does not exist in this cluster; create an InstanceType of that name, or set instance_type to one of `kubectl get instancetypes`", typeName(od))
	}
	if it.Conflict != "" {
		return resources, it.Conflict
	}
	if wrong := checkSpec(od); wrong != "" {
		return resources, wrong
	}
	return override(od.Spec.Resources, it)
}

func typeName(od *v1alpha1.OnlineDeployment) string {
	if n := od.Spec.InstanceType; n != "" {
		return n
	}
	return v1alpha1.DefaultInstanceType
}

func checkSpec(od *v1alpha1.OnlineDeployment) string {
	s := od.Spec
	if s.Scale.Min > s.Scale.Max {
		return fmt.Sprintf("scale.min is %d and scale.max %d; min must not be above max", s.Scale.Min, s.Scale.Max)
	}
	for name, port := range map[string]int32{"port": s.Routes.Port, "livenessPort": s.Routes.LivenessPort, "readinessPort": s.Routes.ReadinessPort} {
		if port < 0 || port > 65535 {
			return fmt.Sprintf("routes.%s is %d; it must be a port, 1 to 65535", name, port)
		}
	}
	if s.Model != nil {
		if dir := modelDir(od); !path.IsAbs(dir) || path.Clean(dir) != dir || strings.Contains(dir, ":") || reserved(dir) {
			return fmt.Sprintf("model.mountPath is %q; it must be an absolute path of a folder that the container does not need itself, such as /var/models", dir)
		}
	}
	if s.Code != nil && (s.Code.ScoringScript == "" || !filepath.IsLocal(s.Code.ScoringScript)) {
		return fmt.Sprintf("code.scoringScript is %q; it must be the path of a script in the code's folder, such as score.py", s.Code.ScoringScript)
	}
	if s.Identity != nil && s.TokenSecret == "" {
		return "identity is given without tokenSecret; it must name the Secret of the deployment's own token, which proves whose pods they are"
	}
	for _, name := range slices.Sorted(maps.Keys(s.EnvironmentVariables)) {
		if problems := validation.IsEnvVarName(name); len(problems) > 0 {
			return fmt.Sprintf("environmentVariables has the name %q: %s", name, strings.Join(problems, "; "))
		}
	}
	return ""
}

// reserved folders are ours and the kernel's.
func reserved(dir string) bool {
	return dir == "/" || slices.ContainsFunc([]string{"/fairlead", "/dev", "/proc", "/sys"}, func(r string) bool {
		return dir == r || strings.HasPrefix(dir, r+"/")
	})
}

// override applies a deployment's own resources to those of its instance type. They may ask for less, not for more.
func override(own *corev1.ResourceRequirements, it *workload.InstanceType) (out corev1.ResourceRequirements, wrong string) {
	of := it.Spec.Resources
	if own == nil {
		return of, ""
	}
	out = corev1.ResourceRequirements{Requests: maps.Clone(of.Requests), Limits: maps.Clone(of.Limits)}
	for _, name := range slices.Sorted(maps.Keys(own.Limits)) {
		q, most := own.Limits[name], of.Limits[name]
		if q.Cmp(most) > 0 {
			return out, fmt.Sprintf("resources.limits.%s is %s, more than %s of instance type %s; ask for less, or choose another instance type", name, q.String(), most.String(), it.Name)
		}
		out.Limits[name] = q
	}
	for _, name := range slices.Sorted(maps.Keys(own.Requests)) {
		q, most := own.Requests[name], out.Limits[name]
		if q.Cmp(most) > 0 {
			return out, fmt.Sprintf("resources.requests.%s is %s, more than the limit, %s (instance type %s); ask for less, or choose another instance type", name, q.String(), most.String(), it.Name)
		}
		if name == corev1.ResourceMemory && q.Cmp(resource.MustParse("1M")) < 0 {
			return out, fmt.Sprintf("resources.requests.memory is %s; it must be 1M or more (a quantity such as 512Mi)", q.String())
		}
		out.Requests[name] = q
	}
	for name, q := range out.Requests { // a limit below what the type asks for
		if most, limited := out.Limits[name]; limited && q.Cmp(most) > 0 {
			out.Requests[name] = most
		}
	}
	return out, ""
}
