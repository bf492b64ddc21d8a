package rows

// Shown names for each row the tests of its work, as "folder Test": what they take away is missed, and what they bring back catches up.
// "rendered" are those whose work needs hardware that no test has.
var Shown = map[string][]string{
	"aml-operator":                          {"test/e2e TestFault_EachPartKilled", "internal/cluster/training TestController"},
	"{EXT}-kube-state-metrics":              {"test/e2e TestMetrics_AreThereWhenThePodsAreGone"},
	"{EXT}-prometheus-operator":             {"test/e2e TestMonitoring_OperatorMakesPrometheusAgain"},
	"amlarc-identity-controller":            {"internal/cluster/identity TestPodsGetTokens", "test/e2e TestInference"},
	"amlarc-identity-proxy":                 {"internal/cluster/identity TestPodsGetTokens", "test/e2e TestInference"},
	"azureml-fe":                            {"test/e2e TestFault_RouterNodeLost", "internal/router TestProcessesDie", "test/e2e TestInference"},
	"inference-operator-controller-manager": {"internal/cluster/inference TestController", "test/e2e TestInference"},
	"metrics-controller-manager":            {"test/e2e TestMetrics_AreThereWhenThePodsAreGone", "internal/cluster/metrics TestCatchUp"},
	"relayserver":                           {"test/e2e TestFault_EachPartKilled", "internal/cluster/relayserver TestHandleLog"},
	"cluster-status-reporter":               {"test/e2e TestFault_EachPartKilled", "internal/cluster/reporter TestReporter"},
	"nfd-master":                            {"test/e2e TestNodeFeatures_ChooseNodes"},
	"nfd-worker":                            {"test/e2e TestNodeFeatures_ChooseNodes"},
	"gateway":                               {"test/e2e TestFault_EachPartKilled", "internal/cluster/gateway TestGateway", "internal/cluster/gateway TestServing"},
	"csi-blob-controller":                   {"test/e2e TestClaim"},
	"csi-blob-node":                         {"test/e2e TestMount_OutlivesItsDriver", "internal/cluster/csi TestAMountOutlivesItsDriver"},
	"fluent-bit":                            {"test/e2e TestLogs_AreKeptWhenPodsAreGone", "internal/cluster/logs TestRotatedWhileAway"},
	"k8s-host-device-plugin-daemonset":      {"test/e2e TestHostDevice_PodsWaitForItsPlugin", "internal/cluster/hostdevice TestTheDeviceIsOfferedToEveryKubelet"},
	"prometheus-prom-prometheus":            {"test/e2e TestMonitoring_OperatorMakesPrometheusAgain", "internal/cluster/metrics TestOutages"},
	"frameworkcontroller":                   {"test/e2e TestFault_EachPartKilled", "test/e2e TestGang_LogsAreLive"},
	"nvidia-device-plugin-daemonset":        {"test/e2e TestGPUs_AreGivenByInstanceType", "test/e2e TestNvidia_PodsGoToNodesWithGPUs rendered"},
	"{EXT}-dcgm-exporter":                   {"test/e2e TestGPUs_AreGivenByInstanceType", "test/e2e TestNvidia_PodsGoToNodesWithGPUs rendered"},
	"load-amlarc-selinux-policy":            {"internal/cluster/selinux TestRun", "internal/cluster/selinux TestSemodule"},
}
