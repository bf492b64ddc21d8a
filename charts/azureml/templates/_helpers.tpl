{{- /* "true" when the value given is True in any spelling. */ -}}
{{- define "azureml.on" -}}
{{- if eq (lower (toString .)) "true" }}true{{ end }}
{{- end }}

{{- /* Labels of a component: (dict "root" $ "name" "gateway"). */ -}}
{{- define "azureml.labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/part-of: azureml
{{- end }}

{{- define "azureml.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "azureml.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Where pods of the extension may run. */ -}}
{{- define "azureml.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
tolerations:
- {key: ml.azure.com/amlarc, operator: Equal, value: "true"}
- {key: ml.azure.com/amlarc-system, operator: Equal, value: "true"}
# A node that is lost is left soon, instead of after Kubernetes' five minutes.
- {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
- {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 30}
{{- end }}

{{- define "azureml.pullSecrets" -}}
{{- with .Values.image.pullSecret }}
imagePullSecrets:
- name: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "azureml.proxyEnv" -}}
{{- with .Values.proxy }}
{{- if or .https .http }}
{{- with .https }}
- {name: HTTPS_PROXY, value: {{ . | quote }}}
{{- end }}
{{- with .http }}
- {name: HTTP_PROXY, value: {{ . | quote }}}
{{- end }}
- {name: NO_PROXY, value: "$(KUBERNETES_SERVICE_HOST),.svc,.cluster.local,localhost,127.0.0.1{{ with .skipRange }},{{ . }}{{ end }}"}
{{- end }}
{{- end }}
{{- end }}

{{- /* Flags of operators that make pods of users' images, a YAML list. */ -}}
{{- define "azureml.podArgs" -}}
{{- $args := list (printf "--runtime-image=%s" (required "image.runtime is required: the image that holds fairlead-runtime" .Values.image.runtime)) "--blob-mounts" }}
{{- if include "azureml.on" .Values.openshift }}{{ $args = append $args "--namespace-users" }}{{ end }}
{{- with .Values.image.pullSecret }}{{ $args = append $args (printf "--image-pull-secret=%s" .) }}{{ end }}
{{- range $key, $value := .Values.nodeSelector }}{{ $args = append $args (printf "--node-selector=%s=%s" $key (toString $value)) }}{{ end }}
{{- with .Values.proxy.cert }}{{ $args = append $args (printf "--custom-ca=%s" (trim .)) }}{{ end }}
{{- toYaml $args }}
{{- end }}

{{- /* ServiceAccount and Deployment of a component of the agent's binary:
       (dict "root" $ "name" "gateway" "command" "gateway" "link" true "inference" true (it asks whether there is) "args" (list …) "resources" …).
       One that others call: "port" (its number), and "replicas", which are there at all times. "address" gives of the link only where it leads. */ -}}
{{- define "azureml.component" -}}
{{- $root := .root -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .name }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "azureml.labels" . | nindent 4 }}
{{- include "azureml.pullSecrets" $root }}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "azureml.labels" . | nindent 4 }}
spec:
  replicas: {{ .replicas | default 1 }}
  {{- if .replicas }}
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  {{- else }}
  strategy: {type: Recreate}
  {{- end }}
  selector:
    matchLabels: {app.kubernetes.io/name: {{ .name }}, app.kubernetes.io/instance: {{ $root.Release.Name }}}
  template:
    metadata:
      labels: {{- include "azureml.labels" . | nindent 8 }}
    spec:
      serviceAccountName: {{ .name }}
      terminationGracePeriodSeconds: 10
      {{- include "azureml.placement" $root | nindent 6 }}
      {{- if .replicas }}
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app.kubernetes.io/name: {{ .name }}, app.kubernetes.io/instance: {{ $root.Release.Name }}}}}
      {{- end }}
      securityContext: {{- include "azureml.podSecurity" $root | nindent 8 }}
      containers:
      - name: {{ .name }}
        image: {{ required "image.agent is required: the image that holds fairlead-agent" $root.Values.image.agent | quote }}
        imagePullPolicy: {{ $root.Values.image.pullPolicy }}
        args:
        - {{ .command }}
        - --health-addr=:8080
        {{- range .args }}
        - {{ . | quote }}
        {{- end }}
        env:
        - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
        # Small heaps matter more here than the cycles a collection takes.
        - {name: GOGC, value: "50"}
        {{- if .inference }}
        - {name: FAIRLEAD_INFERENCE, value: {{ include "azureml.on" $root.Values.enableInference | quote }}}
        {{- end }}
        {{- with include "azureml.proxyEnv" $root }}
        {{- . | nindent 8 }}
        {{- end }}
        ports:
        - {name: health, containerPort: 8080}
        {{- with .port }}
        - {name: serve, containerPort: {{ . }}}
        {{- end }}
        livenessProbe:
          httpGet: {path: /healthz, port: health}
          periodSeconds: 20
          failureThreshold: 6
        readinessProbe:
          httpGet: {path: /readyz, port: health}
          periodSeconds: 2
        securityContext: {{- include "azureml.containerSecurity" $root | nindent 10 }}
        resources: {{- toYaml .resources | nindent 10 }}
        {{- if or .link .address }}
        volumeMounts:
        - {name: link, mountPath: /var/run/fairlead/link, readOnly: true}
      volumes:
      - {name: link, secret: {secretName: {{ $root.Values.linkSecret }}{{ if .address }}, items: [{key: endpoint, path: endpoint}]{{ end }}}}
        {{- end }}
{{- end }}

{{- /* ClusterRole and its binding to a component's account: (dict "root" $ "name" "gateway" "rules" <yaml>). */ -}}
{{- define "azureml.clusterRole" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: azureml-{{ .name }}
  labels: {{- include "azureml.labels" . | nindent 4 }}
rules: {{- .rules | nindent 0 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: azureml-{{ .name }}
  labels: {{- include "azureml.labels" . | nindent 4 }}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: azureml-{{ .name }}}
subjects:
- {kind: ServiceAccount, name: {{ .name }}, namespace: {{ .root.Release.Namespace }}}
{{- end }}

{{- /* ServiceAccount without any right and DaemonSet on every node, for a component of the agent's binary that works on the node itself:
       as azureml.component, with (dict … "security" <securityContext> "mounts" (list (dict "name" … "path" … "at" … "propagation" … "readOnly" …))),
       paths of the node and where it has them, if not at the same path. */ -}}
{{- define "azureml.nodeComponent" -}}
{{- $root := .root -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .name }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "azureml.labels" . | nindent 4 }}
{{- include "azureml.pullSecrets" $root }}
---
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {{ .name }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "azureml.labels" . | nindent 4 }}
spec:
  selector:
    matchLabels: {app.kubernetes.io/name: {{ .name }}, app.kubernetes.io/instance: {{ $root.Release.Name }}}
  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 51%}}
  template:
    metadata:
      labels: {{- include "azureml.labels" . | nindent 8 }}
    spec:
      serviceAccountName: {{ .name }}
      automountServiceAccountToken: false
      priorityClassName: system-node-critical
      terminationGracePeriodSeconds: 10
      # On all nodes, whatever they are kept for: jobs may be there.
      tolerations: [{operator: Exists}]
      securityContext:
        seccompProfile: {type: RuntimeDefault}
      containers:
      - name: {{ .name }}
        image: {{ required "image.agent is required: the image that holds fairlead-agent" $root.Values.image.agent | quote }}
        imagePullPolicy: {{ $root.Values.image.pullPolicy }}
        args:
        - {{ .command }}
        - --health-addr=:8080
        {{- range .args }}
        - {{ . | quote }}
        {{- end }}
        env:
        - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
        - {name: GOGC, value: "50"}
        ports:
        - {name: health, containerPort: 8080}
        livenessProbe:
          httpGet: {path: /healthz, port: health}
          periodSeconds: 20
          failureThreshold: 6
        readinessProbe:
          httpGet: {path: /readyz, port: health}
          periodSeconds: 2
        securityContext: {{- toYaml .security | nindent 10 }}
        resources: {{- toYaml .resources | nindent 10 }}
        volumeMounts:
        {{- range .mounts }}
        - {name: {{ .name }}, mountPath: {{ .at | default .path | quote }}{{ with .propagation }}, mountPropagation: {{ . }}{{ end }}{{ if .readOnly }}, readOnly: true{{ end }}}
        {{- end }}
      volumes:
      {{- range .mounts }}
      - {name: {{ .name }}, hostPath: {path: {{ .path | quote }}}}
      {{- end }}
{{- end }}
