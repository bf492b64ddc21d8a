package extensionsettings

// Why some settings of the reference have no effect here.
const (
	knownAnyway = "the control plane and the agent know it"
	ownLink     = "commands and status take the agent's own link"
	noVolcano   = "gangs are started by JobSet, without Volcano"
	noNginx     = "there is no nginx; the inference router takes requests itself"
)

// Table holds every setting, in the order of the users' guide.
var Table = []Setting{
	// What is installed.
	{Name: "enableTraining", From: Preview | GA, Kind: boolean, Default: "False", Chart: "enableTraining", Disturbs: Jobs, OnlyOff: true,
		Help: "Run training jobs."},
	{Name: "enableInference", From: Preview | GA, Kind: boolean, Default: "False", Chart: "enableInference", Disturbs: Endpoints, OnlyOff: true,
		Help: "Serve online endpoints."},
	{Name: "logAnalyticsWS", From: Preview | GA, Kind: boolean, Default: "False", Chart: "logAnalyticsWS",
		Help: "Keep all logs of the extension and of workloads in the control plane; False keeps the extension's warnings and errors."},
	{Name: "installNvidiaDevicePlugin", From: Preview | GA, Kind: boolean, Default: "True", Chart: "installNvidiaDevicePlugin", Disturbs: Jobs | Endpoints, OnlyOff: true,
		Help: "Install the NVIDIA device plugin on nodes with its GPUs, unless the cluster has one."},
	{Name: "installPromOp", From: GA, Kind: boolean, Default: "True", Chart: "installPromOp",
		Help: "Install the Prometheus operator; False reuses the cluster's own."},
	{Name: "installDcgmExporter", From: GA, Kind: boolean, Default: "False", Chart: "installDcgmExporter",
		Help: "Install NVIDIA's DCGM exporter for GPU metrics on nodes with its GPUs; one that is in the cluster is used as it is."},
	{Name: "installVolcano", From: GA, Kind: boolean, Default: "True", Unused: noVolcano,
		Help: "Install the Volcano scheduler."},
	{Name: "installJobSet", From: Own, Kind: boolean, Default: "True", Chart: "installJobSet",
		Help: "Install the JobSet controller; False reuses the cluster's own."},
	{Name: "installNfd", From: Own, Kind: boolean, Default: "True", Chart: "installNfd",
		Help: "Install node-feature-discovery for training; False reuses the cluster's own."},
	{Name: "nodeLostSeconds", From: Own, Kind: seconds, Default: "60", Chart: "nodeLostSeconds",
		Help: "How long a node may be away before its jobs are given up: they fail, or start again on another node if they ask for it."},
	{Name: "openshift", From: Preview | GA, Kind: boolean, Default: "False", Chart: "openshift",
		Help: "Set up security context constraints and the SELinux policy of OpenShift; found by itself, False refuses."},
	{Name: "nodeSelector.*", From: GA, Kind: label, Below: &nodeLabel, Chart: "nodeSelector", Disturbs: Jobs | Endpoints,
		Help: "The nodes for the extension and its workloads, by label: nodeSelector.pool=ml."},

	// The inference router.
	{Name: "inferenceRouterServiceType", From: GA, Kind: oneOf("loadBalancer", "nodePort", "clusterIP"), Default: "loadBalancer", Chart: "inferenceRouterServiceType", Disturbs: Endpoints,
		Help: "How the inference router is reached."},
	{Name: "internalLoadBalancerProvider", From: GA, Kind: oneOf("azure"), Chart: "internalLoadBalancerProvider", Disturbs: Endpoints,
		Help: "Makes the router's load balancer an internal one."},
	{Name: "inferenceRouterHA", From: GA, Kind: boolean, Default: "True", Chart: "inferenceRouterHA",
		Help: "Three routers on different nodes; False: one."},
	{Name: "allowInsecureConnections", From: Preview | GA, Kind: boolean, Default: "False", Chart: "allowInsecureConnections", Disturbs: Endpoints,
		Help: "Serve endpoints over HTTP; for tests."},
	{Name: "sslCname", From: GA, Kind: dnsName, Chart: "sslCname", Disturbs: Endpoints,
		Help: "DNS name of the endpoints; without it, the one in the certificate."},
	{Name: "sslSecret", From: GA, Kind: k8sName, Chart: "sslSecret",
		Help: "Secret in the release namespace with cert.pem and key.pem; instead of the two files."},
	{Name: "sslCertPemFile", From: Preview | GA, Kind: pemFile, Protected: true,
		Help: "PEM file of the endpoints' certificate, the chain after it; sent as scoringFe.sslCert."},
	{Name: "sslKeyPemFile", From: Preview | GA, Kind: pemFile, Protected: true,
		Help: "PEM file of the certificate's key, without a passphrase; sent as scoringFe.sslKey."},
	{Name: "privateEndpointNodeport", From: Preview, Kind: boolean, Default: "False", Stands: []stand{{when: "True", name: "inferenceRouterServiceType", value: "nodePort"}},
		Help: "Reach the inference router by a port of every node."},
	{Name: "privateEndpointILB", From: Preview, Kind: boolean, Default: "False", Stands: []stand{
		{when: "True", name: "inferenceRouterServiceType", value: "loadBalancer"}, {when: "True", name: "internalLoadBalancerProvider", value: "azure"}},
		Help: "Reach the inference router by an internal load balancer."},
	{Name: "inferenceLoadBalancerHA", From: Preview, Kind: boolean, Default: "True", Stands: []stand{{name: "inferenceRouterHA"}},
		Help: "Several inference routers; False: one."},

	// Figures and images.
	{Name: "gateway.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "gateway.resources", Help: resourcesHelp},
	{Name: "relayserver.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "relayserver.resources", Help: resourcesHelp},
	{Name: "clusterStatusReporter.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "clusterStatusReporter.resources", Help: resourcesHelp},
	{Name: "fluentBit.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "fluentBit.resources", Help: resourcesHelp},
	{Name: "hostDevicePlugin.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "hostDevicePlugin.resources", Help: resourcesHelp},
	{Name: "csiBlobNode.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "csiBlobNode.resources", Help: resourcesHelp},
	{Name: "csiBlobController.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "csiBlobController.resources", Help: resourcesHelp},
	{Name: "amloperator.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "amloperator.resources", Help: resourcesHelp},
	{Name: "inferenceOperator.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "inferenceOperator.resources", Help: resourcesHelp},
	{Name: "frameworkcontroller.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "frameworkcontroller.resources", Help: resourcesHelp},
	{Name: "metricsController.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "metricsController.resources", Help: resourcesHelp},
	{Name: "kubeStateMetrics.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "kubeStateMetrics.resources", Help: resourcesHelp},
	{Name: "prometheusOperator.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "prometheusOperator.resources", Help: resourcesHelp},
	{Name: "prometheus.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "prometheus.resources", Help: resourcesHelp},
	{Name: "nfdMaster.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "nfdMaster.resources", Help: resourcesHelp},
	{Name: "nfdWorker.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "nfdWorker.resources", Help: resourcesHelp},
	{Name: "nvidiaDevicePlugin.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "nvidiaDevicePlugin.resources", Help: resourcesHelp},
	{Name: "dcgmExporter.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "dcgmExporter.resources", Help: resourcesHelp},
	{Name: "selinuxPolicy.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "selinuxPolicy.resources", Help: resourcesHelp},
	{Name: "scoringFe.resources.*", From: Own, Kind: quantity, Below: &resource, Chart: "scoringFe.resources", Help: resourcesHelp},
	{Name: "corsOrigins", From: Own, Kind: text, Chart: "corsOrigins", Help: "Web origins that may call endpoints from a browser, separated by commas, or *; none by default."},
	{Name: "image.*", From: Own, Kind: image, Below: &word, Chart: "image", Help: "Another image for a part of the extension: image.agent, image.router, image.runtime and so on."},

	// What the reference's pages on troubleshooting name.
	{Name: "enable_https", From: Troubleshooting, Kind: boolean, Default: "True", Unused: "no part needs the cluster's signing certificate", Help: "TLS between the extension's parts."},
	{Name: "amloperator.skipResourceValidation", From: Troubleshooting, Kind: boolean, Default: "False", Unused: noVolcano, Help: "For clusters that scale from zero."},
	{Name: "amloperator.custom_ip_interface_enabled", From: Troubleshooting, Kind: boolean, Default: "False", Unused: "MPI uses the pods' own network", Help: "Use custom_ip_interface."},
	{Name: "amloperator.custom_ip_interface", From: Troubleshooting, Kind: text, Unused: "MPI uses the pods' own network", Help: "Network interface of MPI."},
	{Name: "volcanoScheduler.enable", From: Troubleshooting, Kind: boolean, Default: "True", Stands: []stand{{name: "installVolcano"}}, Help: "Older form of installVolcano."},
	{Name: "volcanoScheduler.schedulerConfigMap", From: Troubleshooting, Kind: k8sName, Unused: noVolcano, Help: "ConfigMap with Volcano's configuration."},
	{Name: "nginxIngress.controller", From: Troubleshooting, Kind: text, Unused: noNginx, Help: "Class of the ingress controller."},
	{Name: "nginxIngress.controllerConfig.*", From: Troubleshooting, Kind: text, Unused: noNginx, Help: "Configuration of nginx."},
	{Name: "nginxIngress.resources.*", From: Troubleshooting, Kind: text, Unused: noNginx, Help: "Requests and limits of nginx."},
	{Name: "scoringFe.enableUpgrade", From: Troubleshooting, Kind: boolean, Default: "False", Unused: "there is no router of an older kind to take over", Help: "Take over an older inference router."},
	{Name: "isAKSMigration", From: Troubleshooting, Kind: boolean, Default: "False", Unused: "there is no router of an older kind to take over", Help: "Take over an older inference router."},
	{Name: "scoringFe.namespace", From: Client, Kind: k8sName, Unused: "the router is in the release namespace", Help: "Namespace of an older inference router."},

	// What the reference's clients send by themselves.
	{Name: "scoringFe.sslCert", From: Client, Kind: pem64, Protected: true, Chart: "scoringFe.sslCert", Help: "The content of sslCertPemFile."},
	{Name: "scoringFe.sslKey", From: Client, Kind: pem64, Protected: true, Chart: "scoringFe.sslKey", Help: "The content of sslKeyPemFile."},
	{Name: "scoringFe.sslSecret", From: Client, Kind: k8sName, Stands: []stand{{name: "sslSecret", weak: true}}, Help: "The value of sslSecret."},
	{Name: "scoringFe.serviceType.nodePort", From: Client, Kind: boolean, Stands: []stand{{when: "True", name: "inferenceRouterServiceType", value: "nodePort", weak: true}}, Help: "Follows from inferenceRouterServiceType."},
	{Name: "scoringFe.serviceType.internalLoadBalancer", From: Client, Kind: boolean, Stands: []stand{{when: "True", name: "internalLoadBalancerProvider", value: "azure", weak: true}}, Help: "Follows from internalLoadBalancerProvider."},
	{Name: "clusterPurpose", From: Client, Kind: oneOf("DevTest", "FastProd"), Stands: []stand{
		{when: "DevTest", name: "inferenceRouterHA", value: "False", weak: true}, {when: "FastProd", name: "inferenceRouterHA", value: "True", weak: true}}, Help: "Follows from inferenceRouterHA."},
	{Name: "cluster_name", From: Client, Kind: text, Unused: knownAnyway, Help: "Resource id of the cluster."},
	{Name: "cluster_name_friendly", From: Client, Kind: text, Unused: knownAnyway, Help: "Name of the cluster."},
	{Name: "clusterId", From: Client, Kind: text, Unused: knownAnyway, Help: "Resource id of the cluster."},
	{Name: "prometheus.prometheusSpec.externalLabels.cluster_name", From: Client, Kind: text, Unused: knownAnyway, Help: "Resource id of the cluster."},
	{Name: "domain", From: Client, Kind: text, Unused: knownAnyway, Help: "Domain of the cluster's location."},
	{Name: "location", From: Client, Kind: text, Unused: knownAnyway, Help: "Location of the cluster."},
	{Name: "jobSchedulerLocation", From: Client, Kind: text, Unused: knownAnyway, Help: "Location of the cluster."},
	{Name: "nginxIngress.enabled", From: Client, Kind: boolean, Unused: noNginx, Help: "Install nginx."},
	{Name: "relayserver.enabled", From: Client, Kind: boolean, Unused: ownLink, Help: "Use Azure Relay."},
	{Name: "relayserver.hybridConnectionResourceID", From: Client, Kind: text, Unused: ownLink, Help: "Azure Relay connection."},
	{Name: "relayserver.hybridConnectionName", From: Client, Kind: text, Unused: ownLink, Help: "Azure Relay connection."},
	{Name: "relayserver.relayConnectionString", From: Client, Kind: text, Protected: true, Unused: ownLink, Help: "Azure Relay connection."},
	{Name: "relayServerConnectionString", From: Client, Kind: text, Protected: true, Unused: ownLink, Help: "Azure Relay connection."},
	{Name: "RelayConnectionString", From: Client, Kind: text, Protected: true, Unused: ownLink, Help: "Azure Relay connection."},
	{Name: "servicebus.enabled", From: Client, Kind: boolean, Unused: ownLink, Help: "Use Azure Service Bus."},
	{Name: "servicebus.resourceID", From: Client, Kind: text, Unused: ownLink, Help: "Azure Service Bus."},
	{Name: "servicebus.topicSubMapping.*", From: Client, Kind: text, Unused: ownLink, Help: "Azure Service Bus."},
	{Name: "servicebus.connectionString", From: Client, Kind: text, Protected: true, Unused: ownLink, Help: "Azure Service Bus."},
	{Name: "serviceBusConnectionString", From: Client, Kind: text, Protected: true, Unused: ownLink, Help: "Azure Service Bus."},
	{Name: "azure_log_analytics.enabled", From: Client, Kind: boolean, Unused: "logAnalyticsWS decides", Help: "Follows from logAnalyticsWS."},
	{Name: "azure_log_analytics.customer_id", From: Client, Kind: text, Unused: "logs are kept in the control plane", Help: "Log Analytics workspace."},
	{Name: "azure_log_analytics.connection_string", From: Client, Kind: text, Protected: true, Unused: "logs are kept in the control plane", Help: "Log Analytics workspace."},
}

const resourcesHelp = "Requests and limits: resources.requests.cpu, resources.limits.memory and so on."
