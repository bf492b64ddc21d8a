{{- /* Head of a DaemonSet of NVIDIA's: its account, and where it runs: on nodes that are known to have one of NVIDIA's GPUs, so that a
       cluster without any has no pod of it and pulls no image. Node feature discovery labels them by the PCI vendor 10de, with the class
       of the device or without; nvidia.com/gpu.present is of NVIDIA's own discovery or set by hand; accelerator=nvidia is AKS's. */ -}}
{{- define "azureml.nvidia" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "azureml.labels" (dict "root" .root "name" .label) | nindent 4 }}
{{- include "azureml.pullSecrets" .root }}
---
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "azureml.labels" (dict "root" .root "name" .label) | nindent 4 }}
spec:
  selector:
    matchLabels: {app.kubernetes.io/name: {{ .label }}, app.kubernetes.io/instance: {{ .root.Release.Name }}}
  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 51%}}
  template:
    metadata:
      labels: {{- include "azureml.labels" (dict "root" .root "name" .label) | nindent 8 }}
    spec:
      serviceAccountName: {{ .name }}
      automountServiceAccountToken: false
      priorityClassName: system-node-critical
      {{- with .root.Values.nvidia.runtimeClassName }}
      runtimeClassName: {{ . }}
      {{- end }}
      {{- with .root.Values.nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      tolerations: [{operator: Exists}]
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms:
            {{- range $label, $value := dict "feature.node.kubernetes.io/pci-10de.present" "true" "feature.node.kubernetes.io/pci-0300_10de.present" "true"
                "feature.node.kubernetes.io/pci-0302_10de.present" "true" "nvidia.com/gpu.present" "true" "accelerator" "nvidia" }}
            - matchExpressions: [{key: {{ $label }}, operator: In, values: [{{ $value | quote }}]}]
            {{- end }}
      securityContext: {runAsUser: 0, runAsGroup: 0, seccompProfile: {type: RuntimeDefault}}
{{- end }}
