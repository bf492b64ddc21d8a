{{- /* SecurityContextConstraints of accounts in the release namespace: (dict "root" $ "name" "azureml" "accounts" (list …)). All else is
       optional: "user" is the only user and group id that pods may have, "host" lets them use folders of their node, outside of
       SELinux' confinement of containers (spc_t), "capabilities" are those that containers may add, "writable" lets them write to
       their root file system, "inline" lets them have volumes in their own spec of a driver that allows it. "privileged" allows a privileged container, and with it every capability. */ -}}
{{- define "azureml.scc" -}}
apiVersion: security.openshift.io/v1
kind: SecurityContextConstraints
metadata:
  name: {{ .name }}
  labels: {{- include "azureml.labels" . | nindent 4 }}
allowHostDirVolumePlugin: {{ .host | default false }}
allowHostIPC: false
allowHostNetwork: false
allowHostPID: false
allowHostPorts: false
priority: 0
allowPrivilegedContainer: {{ .privileged | default false }}
allowPrivilegeEscalation: {{ .privileged | default false }}
defaultAddCapabilities: []
allowedCapabilities: {{ .capabilities | default list | toJson }}
requiredDropCapabilities: {{ ternary (list) (list "ALL") (.privileged | default false) | toJson }}
readOnlyRootFilesystem: {{ not .writable }}
{{- if .user }}
runAsUser: {type: MustRunAs, uid: {{ .user }}}
fsGroup: {type: MustRunAs, ranges: [{min: {{ .user }}, max: {{ .user }}}]}
{{- else }}
runAsUser: {type: RunAsAny}
fsGroup: {type: RunAsAny}
{{- end }}
supplementalGroups: {type: RunAsAny}
{{- if .host }}
seLinuxContext: {type: MustRunAs, seLinuxOptions: {user: system_u, role: system_r, type: spc_t, level: s0}}
{{- else }}
seLinuxContext: {type: MustRunAs}
{{- end }}
seccompProfiles: [runtime/default]
{{- $volumes := list "configMap" "emptyDir" "projected" "secret" }}
{{- if .host }}{{ $volumes = list "configMap" "emptyDir" "hostPath" "projected" "secret" }}{{ end }}
{{- if .inline }}{{ $volumes = prepend $volumes "csi" }}{{ end }}
volumes: {{ $volumes | toJson }}
users:
{{- range .accounts }}
- system:serviceaccount:{{ $.root.Release.Namespace }}:{{ . }}
{{- end }}
groups: []
{{- end }}
