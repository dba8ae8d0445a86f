{{- /* What every container of this chart has, but for the transparent DaemonSet's two exceptions. */ -}}
{{- define "egress-gateway.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "egress-gateway.podSecurity" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- range $key := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- $number := index $.Values.security $key }}
{{- if not (kindIs "invalid" $number) }}
{{ $key }}: {{ int64 $number }}
{{- end }}
{{- end }}
{{- end }}

{{- define "egress-gateway.probes" -}}
{{- $startup := dict "httpGet" (dict "path" "/readyz" "port" "health") "periodSeconds" 1 "failureThreshold" 120 "timeoutSeconds" 2 }}
{{- $readiness := dict "httpGet" (dict "path" "/readyz" "port" "health") "periodSeconds" 5 "failureThreshold" 2 "timeoutSeconds" 2 }}
{{- $liveness := dict "httpGet" (dict "path" "/healthz" "port" "health") "periodSeconds" 10 "failureThreshold" 6 "timeoutSeconds" 5 }}
{{- /* One that brings its own way of asking replaces the chart's. */ -}}
{{- range $name, $probe := dict "startup" $startup "readiness" $readiness "liveness" $liveness }}
{{- $given := default dict (get $.Values.probes $name) }}
{{- if or $given.exec $given.tcpSocket $given.grpc }}
{{- $probe = omit $probe "httpGet" }}
{{- end }}
{{ $name }}Probe:
  {{- toYaml (mustMergeOverwrite $probe (deepCopy $given)) | nindent 2 }}
{{- end }}
{{- end }}

{{- define "egress-gateway.env" -}}
{{- with .Values.limits }}
{{- if .existingSecret }}
- name: EGRESS__LIMITS__STORE
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret | quote }}
      key: {{ .key | quote }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Files by where they are mounted. Links of ConfigMaps and Secrets are swapped when they change, which the gateway sees; none is a
       subPath, which would not change. Takes root and the name of the settings' ConfigMap. */ -}}
{{- define "egress-gateway.mounts" -}}
- name: settings
  mountPath: /etc/egress-gateway/settings
  readOnly: true
- name: policy
  mountPath: /etc/egress-gateway/policy
  readOnly: true
{{- with .root.Values }}
{{- if and .tls.enabled (eq $.mode "explicit") }}
- name: tls
  mountPath: /etc/egress-gateway/tls
  readOnly: true
{{- if .tls.clientCa.existingSecret }}
- name: client-ca
  mountPath: /etc/egress-gateway/client-ca
  readOnly: true
{{- end }}
{{- end }}
{{- if .inspection.enabled }}
- name: inspection
  mountPath: /etc/egress-gateway/inspection
  readOnly: true
{{- end }}
{{- if .identity.basic.existingSecret }}
- name: basic
  mountPath: /etc/egress-gateway/basic
  readOnly: true
{{- end }}
{{- if .admin.existingSecret }}
- name: admin
  mountPath: /etc/egress-gateway/admin
  readOnly: true
{{- end }}
{{- range $name, $secret := .secrets }}
- name: secret-{{ $name | replace "_" "-" }}
  mountPath: /etc/egress-gateway/secrets/{{ $name }}
  readOnly: true
{{- end }}
{{- with .extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "egress-gateway.secretVolume" -}}
- name: {{ .name }}
  secret:
    secretName: {{ .secret | quote }}
    defaultMode: 288 # 0440, which not every YAML reads as octal
    items:
      {{- range .keys }}
      - key: {{ . | quote }}
        path: {{ . | quote }}
      {{- end }}
{{- end }}

{{- define "egress-gateway.volumes" -}}
- name: settings
  configMap:
    name: {{ .settings }}
- name: policy
  configMap:
    name: {{ include "egress-gateway.policyConfigMap" .root | quote }}
{{- with .root.Values }}
{{- if and .tls.enabled (eq $.mode "explicit") }}
{{ include "egress-gateway.secretVolume" (dict "name" "tls" "secret" (include "egress-gateway.tlsSecret" $.root) "keys" (list "tls.crt" "tls.key")) }}
{{- if .tls.clientCa.existingSecret }}
{{ include "egress-gateway.secretVolume" (dict "name" "client-ca" "secret" .tls.clientCa.existingSecret "keys" (list .tls.clientCa.key)) }}
{{- end }}
{{- end }}
{{- if .inspection.enabled }}
{{ include "egress-gateway.secretVolume" (dict "name" "inspection" "secret" (include "egress-gateway.inspectionSecret" $.root) "keys" (list .inspection.certificateKey .inspection.privateKeyKey)) }}
{{- end }}
{{- if .identity.basic.existingSecret }}
{{ include "egress-gateway.secretVolume" (dict "name" "basic" "secret" .identity.basic.existingSecret "keys" (list .identity.basic.key)) }}
{{- end }}
{{- if .admin.existingSecret }}
{{ include "egress-gateway.secretVolume" (dict "name" "admin" "secret" .admin.existingSecret "keys" (list .admin.key)) }}
{{- end }}
{{- range $name, $secret := .secrets }}
{{ include "egress-gateway.secretVolume" (dict "name" (printf "secret-%s" ($name | replace "_" "-")) "secret" $secret.existingSecret "keys" (list $secret.key)) }}
{{- end }}
{{- with .extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "egress-gateway.gracePeriod" -}}
{{- $needed := add .Values.drain.preStopSeconds .Values.drain.timeoutSeconds }}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds }}
{{- add $needed 10 }}
{{- else }}
{{- int64 .Values.terminationGracePeriodSeconds }}
{{- end }}
{{- end }}

{{- /* What every pod of this chart may be told of names and addresses. */ -}}
{{- define "egress-gateway.resolution" -}}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
