{{- /* Every right of every component in the whole cluster, on one page. None may get, list or watch Secrets. The gateway writes the
       jobs' own; as a PATCH answers with the whole object, its writes are limited to those by an admission policy (gateway.yaml). */ -}}

{{- define "azureml.gatewayRules" -}}
- {apiGroups: [amlarc.azureml.com], resources: [amljobs], verbs: [get, list, create, patch, delete]}
- {apiGroups: [""], resources: [secrets], verbs: [create, patch]}
{{- end }}

{{- define "azureml.relayserverRules" -}}
- {apiGroups: [""], resources: [pods], verbs: [list]}
{{- end }}

{{- define "azureml.reporterRules" -}}
- {apiGroups: [amlarc.azureml.com], resources: [amljobs, instancetypes], verbs: [list, watch]}
- {apiGroups: [""], resources: [nodes, namespaces], verbs: [list, watch]}
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
