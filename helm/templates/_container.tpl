{{/* The gateway's container, the same in a pod of its own and beside Dify's API. */}}
{{- define "difygate.container" -}}
name: difygate
image: {{ include "difygate.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [serve, --config, /etc/difygate/config.toml]
{{ include "difygate.environment" . | trim }}
ports:
  - {name: gateway, containerPort: {{ include "difygate.port" . }}}
  - {name: gateway-admin, containerPort: {{ include "difygate.adminPort" . }}}
# Until it listens nothing else is asked; liveness never looks at the stores: a restart does not
# bring them back.
startupProbe:
  httpGet: {path: /livez, port: gateway-admin}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: gateway-admin}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: gateway-admin}
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 2
lifecycle:
  preStop:
    sleep: {seconds: {{ .Values.preStopSeconds }}}
resources: {{ toYaml .Values.resources | nindent 2 }}
{{ include "difygate.containerSecurity" . }}
{{ include "difygate.volumeMounts" . }}
{{- end }}

{{- define "difygate.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  privileged: false
  readOnlyRootFilesystem: true
  runAsGroup: 65532
  runAsNonRoot: true
  runAsUser: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "difygate.environment" -}}
{{- with .Values.envFrom }}
envFrom: {{ toYaml . | nindent 2 }}
{{- end }}
env:
  - {name: DIFYGATE__ADMIN__LISTEN, value: {{ include "difygate.adminListen" . | quote }}}
  {{- with .upstreamInstead }}
  - {name: DIFYGATE__UPSTREAM__URL, value: {{ . | quote }}}
  {{- end }}
  {{- range $variable, $secret := .Values.secretEnv }}
  {{- with $secret }}
  - name: {{ $variable }}
    valueFrom: {secretKeyRef: {name: {{ .name | quote }}, key: {{ .key | quote }}}}
  {{- end }}
  {{- end }}
{{- end }}

{{- define "difygate.volumeMounts" -}}
volumeMounts:
  - {name: difygate-config, mountPath: /etc/difygate, readOnly: true}
  {{- range .Values.secretFiles }}
  - {name: {{ printf "difygate-secret-%s" .name | trunc 63 | trimSuffix "-" }}, mountPath: {{ printf "/run/secrets/%s" .name | quote }}, readOnly: true}
  {{- end }}
{{- end }}

{{- define "difygate.volumes" -}}
- name: difygate-config
  configMap: {name: {{ include "difygate.name" . }}}
{{- range .Values.secretFiles }}
- name: {{ printf "difygate-secret-%s" .name | trunc 63 | trimSuffix "-" }}
  # Readable for the gateway's user, which is not the volume's owner beside Dify's container.
  secret: {secretName: {{ .name | quote }}, defaultMode: 0444}
{{- end }}
{{- end }}

{{- define "difygate.podSecurity" -}}
securityContext:
  fsGroup: 65532
  runAsGroup: 65532
  runAsNonRoot: true
  runAsUser: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end }}
