{{- define "egress-gateway.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* At most 40 characters, so that what is put behind it still fits into 63. A Service's name begins with a letter, a release's may not. */ -}}
{{- define "egress-gateway.fullname" -}}
{{- $name := include "egress-gateway.name" . }}
{{- $release := regexReplaceAll "^[0-9]" .Release.Name "release-${0}" }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimAll "-" }}
{{- else if contains $name $release }}
{{- $release | trunc 40 | trimAll "-" }}
{{- else }}
{{- printf "%s-%s" $release $name | trunc 40 | trimAll "-" }}
{{- end }}
{{- end }}

{{- define "egress-gateway.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{- define "egress-gateway.selector" -}}
app.kubernetes.io/name: {{ include "egress-gateway.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- /* Takes root, component and, for one object, `more` that stand above commonLabels. */ -}}
{{- define "egress-gateway.labels" -}}
{{- $own := dict "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") "app.kubernetes.io/version" .root.Chart.AppVersion "app.kubernetes.io/managed-by" .root.Release.Service "app.kubernetes.io/part-of" "egress-gateway" }}
{{- toYaml (merge $own (include "egress-gateway.selector" . | fromYaml) (default dict .more) (default dict .root.Values.commonLabels)) }}
{{- end }}

{{- /* Without versions: a chart that changes nothing in the pods does not restart them. */ -}}
{{- define "egress-gateway.podLabels" -}}
{{- $own := include "egress-gateway.selector" . | fromYaml | merge (dict "app.kubernetes.io/part-of" "egress-gateway") }}
{{- toYaml (merge $own (default dict .root.Values.podLabels) (default dict .root.Values.commonLabels)) }}
{{- end }}

{{- define "egress-gateway.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "egress-gateway.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "egress-gateway.image" -}}
{{- $repository := .image.repository }}
{{- if .image.registry }}
{{- $repository = printf "%s/%s" .image.registry .image.repository }}
{{- end }}
{{- if .digest }}
{{- printf "%s@%s" $repository .digest }}
{{- else }}
{{- printf "%s:%s" $repository .tag }}
{{- end }}
{{- end }}

{{- /* The Service, by the name that it has everywhere in the cluster. */ -}}
{{- define "egress-gateway.host" -}}
{{ include "egress-gateway.fullname" . }}.{{ include "egress-gateway.namespace" . }}.svc.{{ .Values.clusterDomain }}
{{- end }}

{{- define "egress-gateway.asksApiServer" -}}
{{- if or .Values.identity.kubernetes.enabled .Values.identity.token.check }}true{{ end }}
{{- end }}

{{- define "egress-gateway.replicas" -}}
{{- ternary .Values.autoscaling.minReplicas .Values.replicaCount .Values.autoscaling.enabled | int }}
{{- end }}

{{- define "egress-gateway.tlsSecret" -}}
{{- ternary (printf "%s-tls" (include "egress-gateway.fullname" .)) .Values.tls.existingSecret .Values.tls.certManager.enabled }}
{{- end }}

{{- define "egress-gateway.inspectionSecret" -}}
{{- ternary (printf "%s-inspection" (include "egress-gateway.fullname" .)) .Values.inspection.existingSecret .Values.inspection.certManager.enabled }}
{{- end }}

{{- define "egress-gateway.policyConfigMap" -}}
{{- default (printf "%s-policy" (include "egress-gateway.fullname" .)) .Values.policy.existingConfigMap }}
{{- end }}

{{- /* Suffixes in both spellings, and the API server by its address: not every client understands every form. */ -}}
{{- define "egress-gateway.noProxy" -}}
localhost,127.0.0.1,::1,kubernetes,kubernetes.default,kubernetes.default.svc,.svc,svc,.svc.{{ .Values.clusterDomain }},svc.{{ .Values.clusterDomain }},.{{ .Values.clusterDomain }},{{ .Values.clusterDomain }},$(KUBERNETES_SERVICE_HOST)
{{- end }}

{{- /* Empty if it is plain that everything is refused; what is text, or not ours, is not looked into. */ -}}
{{- define "egress-gateway.hasRules" -}}
{{- if .Values.policy.existingConfigMap }}true{{ end }}
{{- range .Values.policy.files }}
{{- if kindIs "string" . }}true{{ else if or .rules (eq (default "" .mode) "report") }}true{{ end }}
{{- end }}
{{- end }}
