package types

import (
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/api/arm"
)

const settingsTarget = "properties.configurationSettings"

// booleanSettings are the settings of both vocabularies that are true or false.
var booleanSettings = []string{"enableTraining", "enableInference", "allowInsecureConnections", "logAnalyticsWS",
	"installNvidiaDevicePlugin", "installPromOp", "installVolcano", "installDcgmExporter", "inferenceRouterHA",
	"inferenceLoadBalancerHA", "privateEndpointNodeport", "privateEndpointILB", "openshift"}

// checkSettings applies the rules of the two vocabularies (2021 preview and GA). Settings it does not know go to the chart.
func checkSettings(settings, protected map[string]string) error {
	for k := range settings {
		if _, both := protected[k]; both {
			return arm.Invalid(settingsTarget+"."+k, "Duplicate keys found. %s is in configurationSettings and in configurationProtectedSettings; give it in one of them.", k)
		}
	}
	for _, k := range booleanSettings {
		v, given := settings[k]
		if _, err := strconv.ParseBool(strings.ToLower(v)); given && err != nil {
			return arm.Invalid(settingsTarget+"."+k, "%s is %q; it must be True or False.", k, v)
		}
	}
	if on(settings, "privateEndpointNodeport") && on(settings, "privateEndpointILB") {
		return arm.Errorf(400, "MutuallyExclusive", "Specify only one of privateEndpointNodeport and privateEndpointILB.")
	}
	if err := checkRouterService(settings); err != nil {
		return err
	}
	if on(settings, "enableInference") {
		return arm.Invalid(settingsTarget+".enableInference", "enableInference is %q, but inference is not available in this release. Set enableTraining=true and leave enableInference out.", settings["enableInference"])
	}
	if !on(settings, "enableTraining") {
		return arm.Invalid(settingsTarget+".enableTraining", "To create Microsoft.AzureML.Kubernetes extension, either enable Machine Learning training or inference by specifying "+
			"'--configuration-settings enableTraining=true' or '--configuration-settings enableInference=true'. (Inference is not available in this release.)")
	}
	return nil
}

func checkRouterService(settings map[string]string) error {
	typ, given := settings["inferenceRouterServiceType"]
	if given && !slices.Contains([]string{"clusterip", "nodeport", "loadbalancer"}, strings.ToLower(typ)) {
		return arm.Invalid(settingsTarget+".inferenceRouterServiceType", "inferenceRouterServiceType is %q. To use inference, please specify inferenceRouterServiceType=ClusterIP or "+
			"inferenceRouterServiceType=NodePort or inferenceRouterServiceType=LoadBalancer in --configuration-settings and also set internalLoadBalancerProvider=azure if your aks only supports internal load balancer.", typ)
	}
	if strings.EqualFold(typ, "nodePort") && settings["internalLoadBalancerProvider"] != "" {
		return arm.Invalid(settingsTarget+".internalLoadBalancerProvider", "When using nodePort as inferenceRouterServiceType, no need to specify internalLoadBalancerProvider.")
	}
	return nil
}

// on reports whether a boolean setting is true.
func on(settings map[string]string, key string) bool {
	v, err := strconv.ParseBool(strings.ToLower(settings[key]))
	return err == nil && v
}
