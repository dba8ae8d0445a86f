{{- /* gateway.yaml as data: what the chart proposes, the user's keys over it, and over these what the chart alone knows.
       Takes root and mode ("explicit" or "transparent"). */ -}}
{{- define "egress-gateway.settings" -}}
{{- $values := .root.Values }}
{{- $directory := "/etc/egress-gateway" }}
{{- $proposed := dict "version" 1 "cluster" (dict "domains" (list $values.clusterDomain)) }}
{{- $listeners := list }}
{{- $health := $values.ports.health }}
{{- if eq .mode "transparent" }}
{{- $health = $values.transparent.healthPort }}
{{- $listeners = append $listeners (dict "name" "captured" "bind" (printf "%s:%d" $values.bindAddress (int $values.transparent.port)) "mode" "transparent") }}
{{- else }}
{{- $proxy := dict "name" "proxy" "bind" (printf "%s:%d" $values.bindAddress (int $values.ports.proxy)) }}
{{- $secure := dict "name" "secure" "bind" (printf "%s:%d" $values.bindAddress (int $values.ports.tls)) }}
{{- if $values.proxyProtocolFrom }}
{{- $_ := set $proxy "proxy_protocol" (dict "trusted" $values.proxyProtocolFrom) }}
{{- $_ := set $secure "proxy_protocol" (dict "trusted" $values.proxyProtocolFrom) }}
{{- end }}
{{- $listeners = append $listeners $proxy }}
{{- if $values.tls.enabled }}
{{- $tls := dict "cert" (printf "%s/tls/tls.crt" $directory) "key" (printf "%s/tls/tls.key" $directory) }}
{{- if $values.tls.clientCa.existingSecret }}
{{- $_ := set $tls "client_ca" (printf "%s/client-ca/%s" $directory $values.tls.clientCa.key) }}
{{- $_ := set $tls "client_cert" (ternary "required" "optional" $values.tls.clientCa.required) }}
{{- end }}
{{- $listeners = append $listeners (set $secure "tls" $tls) }}
{{- end }}
{{- end }}
{{- $admin := dict "bind" "127.0.0.1:9128" "health" (printf "%s:%d" $values.bindAddress (int $health)) }}
{{- if $values.admin.existingSecret }}
{{- $_ := set $admin "token_file" (printf "%s/admin/%s" $directory $values.admin.key) }}
{{- end }}
{{- $own := dict "listeners" $listeners "policy" (printf "%s/policy" $directory) "admin" $admin "drain" (dict "timeout" (printf "%ds" (int $values.drain.timeoutSeconds))) }}
{{- $identity := include "egress-gateway.identity" $values | fromYaml }}
{{- if $identity }}
{{- $_ := set $own "identity" $identity }}
{{- end }}
{{- if $values.inspection.enabled }}
{{- $_ := set $own "inspection" (dict "ca_cert" (printf "%s/inspection/%s" $directory $values.inspection.certificateKey) "ca_key" (printf "%s/inspection/%s" $directory $values.inspection.privateKeyKey)) }}
{{- end }}
{{- if $values.limits.existingSecret }}
{{- $_ := set $own "limits" (dict "on_store_failure" $values.limits.onStoreFailure "replicas" (ternary $values.autoscaling.maxReplicas $values.replicaCount $values.autoscaling.enabled | int)) }}
{{- end }}
{{- if $values.secrets }}
{{- $secrets := dict }}
{{- range $name, $secret := $values.secrets }}
{{- $_ := set $secrets $name (merge (dict "file" (printf "%s/secrets/%s/%s" $directory $name $secret.key)) (omit $secret "existingSecret" "key")) }}
{{- end }}
{{- $_ := set $own "secrets" $secrets }}
{{- end }}
{{- toYaml (mustMergeOverwrite $proposed (deepCopy (default dict $values.gateway)) $own) }}
{{- end }}

{{- /* Changes when something changed that the running gateway does not take over (docs/operations.md, Reload). */ -}}
{{- define "egress-gateway.restart" -}}
{{- $settings := include "egress-gateway.settings" . | fromYaml }}
{{- $telemetry := default dict $settings.telemetry }}
{{- $limits := default dict $settings.limits }}
{{- $identity := default dict $settings.identity }}
{{- list (pick $settings "listeners" "admin" "workers" "http_parser" "kubernetes") (pick $identity "kubernetes") (pick $telemetry "otlp" "metrics") (pick $limits "store") | toJson | sha256sum }}
{{- end }}

{{- define "egress-gateway.identity" -}}
{{- if .identity.kubernetes.enabled }}
kubernetes: true
{{- end }}
{{- if eq .identity.token.check "review" }}
token: {review: true, audience: {{ .identity.token.audience | quote }}}
{{- else if eq .identity.token.check "jwks" }}
token: {jwks: kubernetes, issuer: {{ .identity.token.issuer | quote }}, audience: {{ .identity.token.audience | quote }}}
{{- end }}
{{- if .identity.basic.existingSecret }}
basic: {htpasswd: /etc/egress-gateway/basic/{{ .identity.basic.key }}}
{{- end }}
{{- end }}
