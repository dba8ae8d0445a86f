{{- /* What the schema says as well is said again here where it matters for security: --skip-schema-validation turns the schema off. */ -}}
{{- define "egress-gateway.checks" -}}
{{- $values := .Values }}
{{- $gateway := default dict $values.gateway }}
{{- range $path := .Files.Lines "files/needed.txt" }}
{{- $at := $values }}
{{- range $key := splitList "." $path }}
{{- $at = index $at $key }}
{{- end }}
{{- if kindIs "invalid" $at }}
{{- fail (printf "%s: a key with nothing behind it takes the default away: leave it out" $path) }}
{{- end }}
{{- end }}
{{- range $key := list "listeners" "policy" "admin" "drain" "secrets" }}
{{- if hasKey $gateway $key }}
{{- fail (printf "gateway.%s is made by the chart: use its own values" $key) }}
{{- end }}
{{- end }}
{{- if and (hasKey $gateway "inspection") (not $values.inspection.enabled) }}
{{- fail "gateway.inspection says more about inspection.enabled, which is false" }}
{{- end }}
{{- if and (eq (toString $gateway.workers) "auto") (not (dig "limits" "cpu" "" (default dict $values.resources))) }}
{{- fail "gateway.workers: auto is one for every CPU of the node, 75 MB each, unless resources.limits.cpu says how many: give a number" }}
{{- end }}
{{- if hasKey (default dict $gateway.limits) "store" }}
{{- fail "gateway.limits.store may hold a password, and a ConfigMap is no place for one: use limits.existingSecret" }}
{{- end }}
{{- if not (has $values.service.type (list "ClusterIP" "LoadBalancer")) }}
{{- fail (printf "service.type: %s would open the proxy on every node" $values.service.type) }}
{{- end }}
{{- if and (eq $values.service.type "LoadBalancer") (not $values.service.loadBalancerSourceRanges) }}
{{- fail "service.type: LoadBalancer needs service.loadBalancerSourceRanges: without them the proxy is open to everybody" }}
{{- end }}
{{- $ports := list (int $values.ports.proxy) (int $values.ports.health) 9128 }}
{{- if $values.tls.enabled }}
{{- $ports = append $ports (int $values.ports.tls) }}
{{- end }}
{{- if lt (len (uniq $ports)) (len $ports) }}
{{- fail "ports.proxy, ports.health and, with tls.enabled, ports.tls must differ from each other and from 9128, the admin port" }}
{{- end }}
{{- $captured := list (int $values.transparent.port) (int $values.transparent.healthPort) 9128 }}
{{- if and $values.transparent.enabled (lt (len (uniq $captured)) 3) }}
{{- fail "transparent.port and transparent.healthPort must differ from each other and from 9128, the admin port" }}
{{- end }}
{{- if and (eq (toString $values.dnsPolicy) "None") (not (dig "nameservers" "" (default dict $values.dnsConfig))) }}
{{- fail "dnsPolicy: None needs dnsConfig.nameservers" }}
{{- end }}
{{- range $key := list "runAsUser" "runAsGroup" "fsGroup" }}
{{- $number := index $values.security $key }}
{{- if and (not (kindIs "invalid" $number)) (lt (int64 $number) 1) }}
{{- fail (printf "security.%s: the gateway does not run as root" $key) }}
{{- end }}
{{- end }}
{{- if and (eq $values.identity.token.check "jwks") (not $values.identity.token.issuer) }}
{{- fail "identity.token.check: jwks needs identity.token.issuer: kubectl get --raw /.well-known/openid-configuration" }}
{{- end }}
{{- if and (not $values.serviceAccount.create) (not $values.serviceAccount.name) $values.rbac.create (include "egress-gateway.asksApiServer" .) }}
{{- fail "serviceAccount.name: rbac.create would give the rights of the gateway to the namespace's default account, and so to every pod there" }}
{{- end }}
{{- range $name, $digest := dict "image.digest" $values.image.digest "transparent.digest" $values.transparent.digest }}
{{- if and $digest (not (regexMatch "^sha256:[a-f0-9]{64}$" $digest)) }}
{{- fail (printf "%s: must be sha256: and 64 hexadecimal digits" $name) }}
{{- end }}
{{- end }}
{{- include "egress-gateway.checkSecrets" . }}
{{- include "egress-gateway.checkNetwork" . }}
{{- $needed := add $values.drain.preStopSeconds $values.drain.timeoutSeconds 5 }}
{{- if and (not (kindIs "invalid" $values.terminationGracePeriodSeconds)) (lt (int64 $values.terminationGracePeriodSeconds) $needed) }}
{{- fail (printf "terminationGracePeriodSeconds: %d is less than drain.preStopSeconds + drain.timeoutSeconds + 5: tunnels would be killed" (int64 $values.terminationGracePeriodSeconds)) }}
{{- end }}
{{- if $values.autoscaling.enabled }}
{{- if gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas) }}
{{- fail "autoscaling.minReplicas is more than maxReplicas" }}
{{- end }}
{{- if not (or $values.autoscaling.targetCPUUtilizationPercentage $values.autoscaling.targetOpenTunnels) }}
{{- fail "autoscaling needs targetCPUUtilizationPercentage or targetOpenTunnels" }}
{{- end }}
{{- end }}
{{- $budget := $values.podDisruptionBudget }}
{{- if and $budget.enabled (eq (kindIs "invalid" $budget.maxUnavailable) (kindIs "invalid" $budget.minAvailable)) }}
{{- fail "podDisruptionBudget needs exactly one of maxUnavailable and minAvailable" }}
{{- end }}
{{- end }}

{{- define "egress-gateway.checkSecrets" -}}
{{- $values := .Values }}
{{- $secrets := default dict $values.secrets }}
{{- range $name, $section := dict "tls" $values.tls "inspection" $values.inspection }}
{{- if $section.enabled }}
{{- if eq (empty $section.existingSecret) (not $section.certManager.enabled) }}
{{- fail (printf "%s needs exactly one of existingSecret and certManager.enabled" $name) }}
{{- end }}
{{- if and $section.certManager.enabled (not $section.certManager.issuerRef.name) }}
{{- fail (printf "%s.certManager.issuerRef.name is missing" $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $values.tls.clientCa.required (not $values.tls.enabled) }}
{{- fail "tls.clientCa.required says more about tls.enabled, which is false" }}
{{- end }}
{{- if and $values.tls.clientCa.required (not $values.tls.clientCa.existingSecret) }}
{{- fail "tls.clientCa.required needs tls.clientCa.existingSecret" }}
{{- end }}
{{- if lt (keys $secrets | join " " | replace "_" "-" | splitList " " | uniq | len) (len $secrets) }}
{{- fail "secrets: two names that differ only in - and _ would be one volume" }}
{{- end }}
{{- range $name, $secret := $secrets }}
{{- range $host := $secret.hosts }}
{{- if eq (toString $host) "*" }}
{{- fail (printf "secrets.%s.hosts: name where it may be sent, not \"*\"" $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if $values.trustBundle.enabled }}
{{- if eq (empty $values.trustBundle.secret.name) (empty $values.trustBundle.inLine) }}
{{- fail "trustBundle needs exactly one of secret.name and inLine" }}
{{- end }}
{{- if contains "PRIVATE KEY" (toString $values.trustBundle.inLine) }}
{{- fail "trustBundle.inLine holds a private key, and would be given to everybody" }}
{{- end }}
{{- if not $values.trustBundle.matchLabels }}
{{- fail "trustBundle.matchLabels: name which namespaces trust the authority" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "egress-gateway.checkNetwork" -}}
{{- $values := .Values }}
{{- if $values.networkPolicy.enabled }}
{{- if and (include "egress-gateway.asksApiServer" .) (not $values.networkPolicy.apiServer.cidrs) }}
{{- fail "identity.kubernetes and identity.token need networkPolicy.apiServer.cidrs: kubectl get endpointslices -n default kubernetes" }}
{{- end }}
{{- if and (include "egress-gateway.asksApiServer" .) (not $values.networkPolicy.apiServer.ports) }}
{{- fail "networkPolicy.apiServer.ports: an empty list of ports is every port; name those of the API server" }}
{{- end }}
{{- if and $values.limits.existingSecret (not $values.networkPolicy.extraEgress) }}
{{- fail "limits.existingSecret needs the way to its Redis in networkPolicy.extraEgress" }}
{{- end }}
{{- if not $values.networkPolicy.clients }}
{{- fail "networkPolicy.clients: an empty list of peers is everybody; name who may use the proxy" }}
{{- end }}
{{- if not $values.networkPolicy.dns }}
{{- fail "networkPolicy.dns: an empty list of peers is everybody; name the cluster's name servers" }}
{{- end }}
{{- if not $values.networkPolicy.dnsPorts }}
{{- fail "networkPolicy.dnsPorts: an empty list of ports is every port; name those of the cluster's name servers" }}
{{- end }}
{{- end }}
{{- if has (include "egress-gateway.namespace" .) $values.lock.namespaces }}
{{- fail "lock.namespaces holds the gateway's own namespace: it could reach nobody any more" }}
{{- end }}
{{- if and $values.lock.namespaces (not $values.networkPolicy.dns) }}
{{- fail "lock needs networkPolicy.dns" }}
{{- end }}
{{- if $values.transparent.enabled }}
{{- if not $values.transparent.interfaces }}
{{- fail "transparent.interfaces: name the pods' side of the node (cni0, ...)" }}
{{- end }}
{{- if not $values.transparent.pass }}
{{- fail "transparent.pass: name at least the cluster's name servers, or pods resolve nothing" }}
{{- end }}
{{- if not (has $values.transparent.place (list "redirect" "tproxy")) }}
{{- fail "transparent.place: redirect or tproxy" }}
{{- end }}
{{- end }}
{{- end }}
