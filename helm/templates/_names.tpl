{{- define "difygate.name" -}}
{{- if contains "difygate" .Release.Name }}{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}{{ printf "%s-difygate" .Release.Name | trunc 52 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "difygate.selector" -}}
app.kubernetes.io/name: difygate
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "difygate.labels" -}}
{{ include "difygate.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Labels of the pods that serve: only theirs may have the component. */}}
{{- define "difygate.podSelector" -}}
{{- if eq .Values.mode "sidecar" -}}
{{- if not .Values.sidecar.podLabels }}{{ fail "sidecar.podLabels: the labels of the pods of Dify's API" }}{{ end -}}
{{- toYaml .Values.sidecar.podLabels }}
{{- else -}}
{{ include "difygate.selector" . }}
app.kubernetes.io/component: gateway
{{- end }}
{{- end }}

{{- define "difygate.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "difygate.name" .) }}
{{- else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- define "difygate.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}
{{- else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}
