package types

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
)

const (
	maxServing     = 500 // pods of a deployment
	maxConcurrent  = 10_000
	maxRequestTime = 300 * time.Second
	maxQueueWait   = 300 * time.Second
	maxPolling     = time.Hour
	maxProbeTime   = time.Hour
	maxProbeCount  = 1000
)

var gpuRule = regexp.MustCompile(`^[0-9]{1,3}$`)

// readSKU is the body's sku with defaults.
func readSKU(body map[string]any) (*machinelearning.SKU, error) {
	sku := &machinelearning.SKU{}
	if given := body["sku"]; given != nil {
		raw, err := json.Marshal(given)
		if err != nil {
			return nil, fmt.Errorf("encoding sku: %w", err)
		}
		if err := json.Unmarshal(raw, sku); err != nil {
			return nil, arm.Invalid("sku", "sku is not of the form {\"name\":\"Default\",\"capacity\":1}: %v.", err)
		}
	}
	if sku.Name == "" {
		sku.Name = "Default"
	}
	var err error
	if sku.Name, err = enum("sku.name", sku.Name, "Default"); err != nil {
		return nil, err
	}
	if sku.Tier == "" {
		sku.Tier = "Standard"
	}
	if sku.Capacity == nil {
		return sku, nil
	}
	return sku, count("sku.capacity", &sku.Capacity, 1, 1, maxServing)
}

// checkDeployment checks all of a deployment that needs no look-up, and sets defaults.
func checkDeployment(o *machinelearning.OnlineDeploymentProperties, sku *machinelearning.SKU) error {
	const at = "properties.endpointComputeType"
	if strings.EqualFold(o.EndpointComputeType, "Managed") {
		return arm.Invalid(at, "%s is Managed; deployments run on attached Kubernetes clusters here. Give Kubernetes.", at)
	}
	var err error
	if o.EndpointComputeType, err = enum(at, o.EndpointComputeType, machinelearning.EndpointComputeKubernetes); err != nil {
		return err
	}
	if o.DataCollector != nil {
		return arm.Invalid("properties.dataCollector", "properties.dataCollector is set, but data collection is not available in this release. Leave it out; the router's metrics and access log tell of requests.")
	}
	o.Properties, o.EnvironmentVariables = orEmpty(o.Properties), orEmpty(o.EnvironmentVariables)
	for _, k := range keys(o.EnvironmentVariables) {
		if !envName.MatchString(k) {
			return arm.Invalid("properties.environmentVariables", "properties.environmentVariables has the name %q; names are letters, digits, '_', '.' and '-', not beginning with a digit.", k)
		}
	}
	if p := o.ModelMountPath; p != "" && (!path.IsAbs(p) || path.Clean(p) != strings.TrimSuffix(p, "/") || p == "/" || strings.ContainsRune(p, ':')) {
		return arm.Invalid("properties.modelMountPath", "properties.modelMountPath is %q; it must be an absolute path other than /, without '.', '..' and ':'.", p)
	}
	if err := checkScript(o.CodeConfiguration); err != nil {
		return err
	}
	for _, check := range []func(*machinelearning.OnlineDeploymentProperties) error{checkRequests, checkProbes, checkContainer} {
		if err := check(o); err != nil {
			return err
		}
	}
	return checkScale(o, sku)
}

func checkScript(c *machinelearning.CodeConfiguration) error {
	const at = "properties.codeConfiguration."
	switch {
	case c == nil:
		return nil
	case c.CodeID == "":
		return arm.Invalid(at+"codeId", "%scodeId is missing; give the id of a code version, or leave codeConfiguration out when the image or an MLflow model brings the code.", at)
	case c.ScoringScript == "":
		return arm.Invalid(at+"scoringScript", "%sscoringScript is missing; give the path of the file with init() and run() in the code folder, such as score.py.", at)
	case path.IsAbs(c.ScoringScript) || path.Clean(c.ScoringScript) != c.ScoringScript || strings.HasPrefix(c.ScoringScript, "../") || c.ScoringScript == "..":
		return arm.Invalid(at+"scoringScript", "%sscoringScript is %q; it must be a path in the code folder, such as score.py.", at, c.ScoringScript)
	}
	return nil
}

func checkScale(o *machinelearning.OnlineDeploymentProperties, sku *machinelearning.SKU) error {
	const at = "properties.scaleSettings."
	s := o.ScaleSettings
	if s == nil {
		s = &machinelearning.OnlineScaleSettings{ScaleType: machinelearning.ScaleTargetUtilization}
		if sku.Capacity != nil { // somebody asked for a number
			s.ScaleType = machinelearning.ScaleDefault
		}
		o.ScaleSettings = s
	}
	if sku.Capacity == nil {
		sku.Capacity = new(1)
	}
	var err error
	if s.ScaleType, err = enum(at+"scaleType", s.ScaleType, machinelearning.ScaleDefault, machinelearning.ScaleTargetUtilization); err != nil {
		return err
	}
	if s.ScaleType == machinelearning.ScaleDefault {
		if s.MinInstances != nil || s.MaxInstances != nil || s.TargetUtilizationPercentage != nil || s.PollingInterval != "" {
			return arm.Invalid(at+"scaleType", "%sscaleType is Default, with which sku.capacity is the number of instances; minInstances, maxInstances, targetUtilizationPercentage and pollingInterval belong to TargetUtilization.", at)
		}
		return nil
	}
	if err := count(at+"minInstances", &s.MinInstances, 1, 0, maxServing); err != nil {
		return err
	}
	if err := count(at+"maxInstances", &s.MaxInstances, max(1, *s.MinInstances), 1, maxServing); err != nil {
		return err
	}
	if *s.MaxInstances < *s.MinInstances {
		return arm.Invalid(at+"maxInstances", "%smaxInstances is %d, less than minInstances, %d.", at, *s.MaxInstances, *s.MinInstances)
	}
	if err := count(at+"targetUtilizationPercentage", &s.TargetUtilizationPercentage, 70, 1, 100); err != nil {
		return err
	}
	return duration(at+"pollingInterval", &s.PollingInterval, "PT1S", time.Second, maxPolling)
}

func checkRequests(o *machinelearning.OnlineDeploymentProperties) error {
	const at = "properties.requestSettings."
	if o.RequestSettings == nil {
		o.RequestSettings = &machinelearning.OnlineRequestSettings{}
	}
	r := o.RequestSettings
	if err := count(at+"maxConcurrentRequestsPerInstance", &r.MaxConcurrentRequestsPerInstance, 1, 1, maxConcurrent); err != nil {
		return err
	}
	if err := duration(at+"requestTimeout", &r.RequestTimeout, "PT5S", time.Millisecond, maxRequestTime); err != nil {
		return err
	}
	return duration(at+"maxQueueWait", &r.MaxQueueWait, "PT0.5S", 0, maxQueueWait)
}

// checkProbes gives every deployment a liveness and a readiness probe.
func checkProbes(o *machinelearning.OnlineDeploymentProperties) error {
	for _, p := range []struct {
		name   string
		at     **machinelearning.ProbeSettings
		always bool
	}{{"livenessProbe", &o.LivenessProbe, true}, {"readinessProbe", &o.ReadinessProbe, true}, {"startupProbe", &o.StartupProbe, false}} {
		if *p.at == nil {
			if !p.always {
				continue
			}
			*p.at = &machinelearning.ProbeSettings{}
		}
		most := 1 // Kubernetes wants it for all but readiness
		if p.name == "readinessProbe" {
			most = maxProbeCount
		}
		if err := checkProbe("properties."+p.name+".", *p.at, most); err != nil {
			return err
		}
	}
	return nil
}

func checkProbe(at string, p *machinelearning.ProbeSettings, successes int) error {
	if err := count(at+"failureThreshold", &p.FailureThreshold, 30, 1, maxProbeCount); err != nil {
		return err
	}
	if err := count(at+"successThreshold", &p.SuccessThreshold, 1, 1, successes); err != nil {
		return err
	}
	if err := duration(at+"initialDelay", &p.InitialDelay, "PT10S", 0, maxProbeTime); err != nil {
		return err
	}
	if err := duration(at+"period", &p.Period, "PT10S", time.Second, maxProbeTime); err != nil {
		return err
	}
	return duration(at+"timeout", &p.Timeout, "PT2S", time.Second, maxProbeTime)
}

func checkContainer(o *machinelearning.OnlineDeploymentProperties) error {
	const at = "properties.containerResourceRequirements."
	c := o.ContainerResourceRequirements
	if c == nil {
		return nil
	}
	for name, set := range map[string]*machinelearning.ContainerResourceSettings{"containerResourceRequests": c.ContainerResourceRequests, "containerResourceLimits": c.ContainerResourceLimits} {
		if set == nil {
			continue
		}
		for _, q := range []struct{ name, value string }{{"cpu", set.CPU}, {"memory", set.Memory}} {
			if v, err := resource.ParseQuantity(q.value); q.value != "" && (err != nil || v.Sign() <= 0) {
				return arm.Invalid(at+name+"."+q.name, "%s%s.%s is %q; it must be a Kubernetes quantity above 0, such as 500m or 2Gi.", at, name, q.name, q.value)
			}
		}
		if set.GPU != "" && !gpuRule.MatchString(set.GPU) {
			return arm.Invalid(at+name+".gpu", "%s%s.gpu is %q; it must be a whole number.", at, name, set.GPU)
		}
	}
	r, l := c.ContainerResourceRequests, c.ContainerResourceLimits
	if r == nil || l == nil {
		return nil
	}
	for _, q := range []struct{ name, request, limit string }{{"cpu", r.CPU, l.CPU}, {"memory", r.Memory, l.Memory}, {"gpu", r.GPU, l.GPU}} {
		if q.request != "" && q.limit != "" && more(q.request, q.limit) {
			return arm.Invalid(at+"containerResourceRequests."+q.name, "%scontainerResourceRequests.%s is %s, more than the limit, %s.", at, q.name, q.request, q.limit)
		}
	}
	return nil
}

// more compares two quantities that were checked.
func more(a, b string) bool {
	x, y := resource.MustParse(a), resource.MustParse(b)
	return x.Cmp(y) > 0
}

// count sets a default and bounds a number.
func count(at string, p **int, unset, least, most int) error {
	if *p == nil {
		*p = &unset
	}
	if n := **p; n < least || n > most {
		if least == most {
			return arm.Invalid(at, "%s is %d; it must be %d.", at, n, least)
		}
		return arm.Invalid(at, "%s is %d; it must be %d to %d.", at, n, least, most)
	}
	return nil
}

// duration sets a default and bounds an ISO 8601 duration.
func duration(at string, p *string, unset string, least, most time.Duration) error {
	if *p == "" {
		*p = unset
	}
	d, err := parseExact(*p)
	if err != nil {
		return arm.Invalid(at, "%s: %v.", at, err)
	}
	if d < least || d > most {
		return arm.Invalid(at, "%s is %s, %v; it must be %v to %v.", at, *p, d, least, most)
	}
	return nil
}

// seconds is a duration that was checked, rounded up.
func seconds(s string) int32 {
	d, _ := parseExact(s)
	return int32((d + time.Second - 1) / time.Second)
}

func milliseconds(s string) int64 {
	d, _ := parseExact(s)
	return d.Milliseconds()
}

// servingModels are the types of models that can be served.
var servingModels = []string{"custom_model", "mlflow_model"}

func servable(model, typ string) error {
	if slices.Contains(servingModels, typ) {
		return nil
	}
	return arm.Invalid("properties.model", "properties.model is %q, of type %s, which online deployments do not serve in this release; they serve %s.", model, typ, oneOf(servingModels))
}
