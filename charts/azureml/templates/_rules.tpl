{{- /* Every right of every component in the whole cluster, on one page. None may get, list or watch Secrets, but for those of
       its own making that the Prometheus operator has in the extension's namespace. The gateway writes the
       jobs' own; as a PATCH answers with the whole object, its writes are limited to those by an admission policy (gateway.yaml). */ -}}

{{- define "azureml.gatewayRules" -}}
- {apiGroups: [amlarc.azureml.com], resources: [amljobs], verbs: [get, list, create, patch, delete]}
{{- if include "azureml.on" .Values.enableInference }}
- {apiGroups: [amlarc.azureml.com], resources: [onlineendpoints, onlinedeployments], verbs: [get, list, create, patch, delete]}
{{- end }}
- {apiGroups: [""], resources: [secrets], verbs: [create, patch]}
{{- end }}

{{- define "azureml.relayserverRules" -}}
- {apiGroups: [""], resources: [pods], verbs: [list]}
{{- if include "azureml.on" .Values.enableInference }}
# What model servers write, for getLogs; it names the containers that are read.
- {apiGroups: [""], resources: [pods/log], verbs: [get]}
{{- end }}
{{- end }}

{{- define "azureml.reporterRules" -}}
- {apiGroups: [amlarc.azureml.com], resources: [amljobs, instancetypes], verbs: [list, watch]}
- {apiGroups: [""], resources: [nodes, namespaces], verbs: [list, watch]}
{{- if include "azureml.on" .Values.enableInference }}
- {apiGroups: [amlarc.azureml.com], resources: [onlineendpoints, onlinedeployments], verbs: [list, watch]}
{{- end }}
{{- end }}

{{- /* In the extension's namespace only: where the inference router is. */ -}}
{{- define "azureml.reporterRouterRules" -}}
- {apiGroups: [""], resources: [services], verbs: [list, watch], resourceNames: [azureml-fe]}
{{- end }}

{{- define "azureml.kubeStateMetricsRules" -}}
- {apiGroups: [""], resources: [pods], verbs: [list, watch]}
{{- end }}

{{- define "azureml.prometheusRules" -}}
- {apiGroups: [""], resources: [nodes], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [nodes/metrics], verbs: [get]}
# To find the DCGM exporter, wherever it is.
- {apiGroups: [""], resources: [pods], verbs: [get, list, watch]}
{{- end }}

{{- /* In the extension's namespace only. */ -}}
{{- define "azureml.prometheusOperatorRules" -}}
- {apiGroups: [monitoring.coreos.com], resources: [prometheuses, servicemonitors, podmonitors, probes, prometheusrules], verbs: [get, list, watch]}
- {apiGroups: [monitoring.coreos.com], resources: [prometheuses/status, prometheuses/finalizers], verbs: [update, patch]}
- {apiGroups: [apps], resources: [statefulsets], verbs: [create, delete, get, list, patch, update, watch]}
- {apiGroups: [""], resources: [configmaps], verbs: [create, delete, get, list, patch, update, watch]}
- {apiGroups: [""], resources: [secrets], verbs: [create]}
- {apiGroups: [""], resources: [secrets], verbs: [get, list, watch], resourceNames: [azureml-scrape-config]}
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, patch, update, delete]
  resourceNames:
  - prometheus-prom-prometheus
  - prometheus-prom-prometheus-tls-assets-0
  - prometheus-prom-prometheus-tls-assets-1 # never made, but it makes sure
  - prometheus-prom-prometheus-web-config
  - prometheus-prom-prometheus-thanos-prometheus-http-client-file
- {apiGroups: [""], resources: [services, services/finalizers], verbs: [create, delete, get, patch, update]}
- {apiGroups: [""], resources: [pods], verbs: [list, delete]}
# Its own.
- {apiGroups: [""], resources: [namespaces], verbs: [get]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
{{- end }}

{{- define "azureml.nfdMasterRules" -}}
- {apiGroups: [nfd.k8s-sigs.io], resources: [nodefeatures, nodefeaturerules], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [namespaces], verbs: [list, watch]}
- {apiGroups: [""], resources: [nodes, nodes/status], verbs: [get, list, patch, update]}
{{- end }}

{{- define "azureml.fluentbitRules" -}}
# To tell the pods of jobs from others on its node.
- {apiGroups: [""], resources: [pods], verbs: [list]}
{{- end }}

{{- define "azureml.amloperatorRules" -}}
- {apiGroups: [amlarc.azureml.com], resources: [amljobs, instancetypes], verbs: [get, list, watch]}
- {apiGroups: [amlarc.azureml.com], resources: [amljobs/status], verbs: [get, update, patch]}
# To own what it makes where owners' finalizers are guarded (OpenShift).
- {apiGroups: [amlarc.azureml.com], resources: [amljobs/finalizers], verbs: [update]}
- {apiGroups: [jobset.x-k8s.io], resources: [jobsets], verbs: [get, list, watch, create, delete]}
- {apiGroups: [batch], resources: [jobs], verbs: [list, watch]}
# To end the pods of a node that was lost; an admission policy limits it to pods of jobs (aml-operator.yaml).
- {apiGroups: [""], resources: [pods], verbs: [list, watch, delete]}
- {apiGroups: [""], resources: [pods/status], verbs: [patch]}
- {apiGroups: [""], resources: [nodes], verbs: [list, watch]}
- {apiGroups: [""], resources: [events], verbs: [list]}
# What pods of jobs get of their namespace: claims that are marked for them, and the names of Secrets for pulling images.
- {apiGroups: [""], resources: [persistentvolumeclaims], verbs: [list, watch]}
- {apiGroups: [""], resources: [serviceaccounts], verbs: [get]}
- {apiGroups: [""], resources: [configmaps, services], verbs: [create]}
- {apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [create]}
{{- end }}

{{- /* What it makes and deletes is limited to volumes of its own driver by an admission policy (csi-blob-controller.yaml). */ -}}
{{- define "azureml.csiBlobControllerRules" -}}
- {apiGroups: [""], resources: [persistentvolumeclaims], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [persistentvolumes], verbs: [get, list, watch, create, delete]}
- {apiGroups: [storage.k8s.io], resources: [storageclasses], verbs: [get, list, watch]}
- {apiGroups: [storage.k8s.io], resources: [volumeattachments], verbs: [get, list, watch, patch]}
- {apiGroups: [storage.k8s.io], resources: [volumeattachments/status], verbs: [patch]}
# To own the pods that it makes where owners' finalizers are guarded (OpenShift).
- {apiGroups: [storage.k8s.io], resources: [volumeattachments/finalizers], verbs: [update]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
{{- end }}

{{- /* In the extension's namespace only: the pods that serve volumes. */ -}}
{{- define "azureml.csiBlobControllerPodRules" -}}
- {apiGroups: [""], resources: [pods], verbs: [get, list, watch, create, delete]}
{{- end }}

{{- define "azureml.routerRules" -}}
- {apiGroups: [amlarc.azureml.com], resources: [onlineendpoints, onlinedeployments], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
{{- end }}

{{- define "azureml.inferenceOperatorRules" -}}
- {apiGroups: [amlarc.azureml.com], resources: [onlinedeployments, instancetypes], verbs: [get, list, watch]}
- {apiGroups: [amlarc.azureml.com], resources: [onlinedeployments/status], verbs: [get, update, patch]}
- {apiGroups: [amlarc.azureml.com], resources: [onlinedeployments/finalizers], verbs: [update]}
# What it writes is limited to objects of deployments by an admission policy (inference-operator.yaml).
- {apiGroups: [apps], resources: [deployments], verbs: [get, list, watch, create, patch]}
- {apiGroups: [""], resources: [services], verbs: [get, list, watch, create, patch]}
- {apiGroups: [networking.k8s.io], resources: [networkpolicies], verbs: [get, list, watch, create, patch]}
- {apiGroups: [policy], resources: [poddisruptionbudgets], verbs: [get, list, watch, create, patch]}
- {apiGroups: [amlarc.azureml.com], resources: [identities], verbs: [get, list, watch, create, patch, delete]}
- {apiGroups: [""], resources: [pods], verbs: [list, watch]}
- {apiGroups: [""], resources: [events], verbs: [list]}
- {apiGroups: [""], resources: [serviceaccounts], verbs: [get]}
{{- end }}

{{- define "azureml.identityControllerRules" -}}
- {apiGroups: [amlarc.azureml.com], resources: [identities], verbs: [get, list, watch]}
- {apiGroups: [amlarc.azureml.com], resources: [identities/status], verbs: [get, update, patch]}
- {apiGroups: [amlarc.azureml.com], resources: [identities/finalizers], verbs: [update]}
# What it makes is limited to accounts of deployments by an admission policy (amlarc-identity-controller.yaml).
- {apiGroups: [""], resources: [serviceaccounts], verbs: [get, list, watch, create]}
{{- end }}

{{- define "azureml.identityProxyRules" -}}
- {apiGroups: [amlarc.azureml.com], resources: [identities], verbs: [list, watch]}
- {apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}
{{- end }}

{{- define "azureml.frameworkcontrollerRules" -}}
- {apiGroups: [""], resources: [events], verbs: [create, patch, update, watch]}
- {apiGroups: [""], resources: [nodes], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [pods, services], verbs: [create, delete, get, list, patch, update, watch]}
- {apiGroups: [batch], resources: [jobs], verbs: [create, delete, get, list, patch, update, watch]}
- {apiGroups: [batch], resources: [jobs/status], verbs: [get, patch, update]}
- {apiGroups: [jobset.x-k8s.io], resources: [jobsets], verbs: [create, delete, get, list, patch, update, watch]}
- {apiGroups: [jobset.x-k8s.io], resources: [jobsets/finalizers], verbs: [update]}
- {apiGroups: [jobset.x-k8s.io], resources: [jobsets/status], verbs: [get, patch, update]}
{{- end }}
