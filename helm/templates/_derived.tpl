{{/* What the chart has to know of the configuration, read from the TOML itself. */}}

{{- define "difygate.toml" -}}
{{- $config := fromToml .Values.config -}}
{{- with $config.Error }}{{ fail (printf "config is not TOML: %s" .) }}{{ end -}}
{{- toJson $config -}}
{{- end }}

{{/* Whole seconds of a duration such as "25s", rounded up. */}}
{{- define "difygate.seconds" -}}
{{- if not (regexMatch "^[0-9]+(ms|s|m|h|d)$" .) -}}
{{- fail (printf "config: %q is not a duration with its unit (ms, s, m, h, d)" .) -}}
{{- end -}}
{{- $count := regexFind "^[0-9]+" . | int -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- if eq $unit "ms" }}{{ div (add $count 999) 1000 -}}
{{- else if eq $unit "s" }}{{ $count -}}
{{- else if eq $unit "m" }}{{ mul $count 60 -}}
{{- else if eq $unit "h" }}{{ mul $count 3600 -}}
{{- else }}{{ mul $count 86400 }}{{ end -}}
{{- end }}

{{/* From SIGTERM's decision to SIGKILL: preStop, the drain, and a margin to write the last line. */}}
{{- define "difygate.graceSeconds" -}}
{{- $server := (include "difygate.toml" . | fromJson).server | default dict -}}
{{- $drain := include "difygate.seconds" ($server.shutdown_grace | default "25s") | int -}}
{{- add .Values.preStopSeconds $drain 5 -}}
{{- end }}

{{- define "difygate.port" -}}
{{- $server := (include "difygate.toml" . | fromJson).server | default dict -}}
{{- $first := "" -}}
{{- range ($server.listen | default (list "0.0.0.0:8080")) -}}
{{- if not (or $first (hasPrefix "unix:" .)) -}}{{- $first = . -}}{{- end -}}
{{- end -}}
{{- if not $first -}}
{{- fail "config: server.listen has only Unix sockets, and a Service needs a port" -}}
{{- end -}}
{{- include "difygate.portOf" (list "server.listen" $first) -}}
{{- end }}

{{/* What the gateway speaks on server.listen. */}}
{{- define "difygate.scheme" -}}
{{- $server := (include "difygate.toml" . | fromJson).server | default dict -}}
{{- ternary "https" "http" (hasKey ($server.tls | default dict) "cert") -}}
{{- end }}

{{- define "difygate.adminPort" -}}
{{- include "difygate.portOf" (list "admin.listen" (include "difygate.adminListen" .)) -}}
{{- end }}

{{- define "difygate.adminListen" -}}
{{- ((include "difygate.toml" . | fromJson).admin | default dict).listen | default "0.0.0.0:9090" -}}
{{- end }}

{{/* The port of an address that the pod's network reaches. */}}
{{- define "difygate.portOf" -}}
{{- $key := index . 0 -}}{{- $address := index . 1 -}}
{{- if or (hasPrefix "127." $address) (hasPrefix "[::1]" $address) (hasPrefix "localhost:" $address) -}}
{{- fail (printf "config: %s is %s, which nobody outside the pod reaches; use 0.0.0.0 or [::]" $key $address) -}}
{{- end -}}
{{- regexFind "[0-9]+$" $address -}}
{{- end }}
