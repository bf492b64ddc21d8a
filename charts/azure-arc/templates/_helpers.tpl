{{- define "azure-arc.labels" -}}
app.kubernetes.io/name: fairlead-agent
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: fairlead
{{- end }}

{{- /* The control plane's CA and the proxy's, in one bundle. */ -}}
{{- define "azure-arc.ca" -}}
{{- with .Values.global.caCert }}{{ trim . }}
{{ end }}
{{- with .Values.proxy.cert }}{{ trim . }}
{{ end }}
{{- end }}
