{{- /* The configuration with what the chart knows filled in. What `config` says is never changed. */ -}}
{{- define "portcullis.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if not $config.listen -}}
{{- if eq .Values.mode "sidecar" -}}
{{- $_ := set $config "listen" (dict "proxy" "0.0.0.0:8000" "decisions" "127.0.0.1:8180" "telemetry" "0.0.0.0:9180") -}}
{{- else -}}
{{- $listen := dict "ext_authz_grpc" "0.0.0.0:9191" "ext_authz_http" "0.0.0.0:9192" "telemetry" "0.0.0.0:9180" -}}
{{- if $config.callers -}}
{{- $_ := set $listen "decisions" "0.0.0.0:8180" -}}
{{- end -}}
{{- $_ := set $config "listen" $listen -}}
{{- end -}}
{{- end -}}
{{- if not $config.listen.telemetry -}}
{{- fail "config.listen.telemetry is missing: the probes ask /livez and /readyz there. Set it to 0.0.0.0:9180" -}}
{{- end -}}
{{- $inPod := list "decisions" "admin" -}}
{{- if eq .Values.mode "sidecar" -}}
{{- /* The Envoy that asks is in the same pod. */ -}}
{{- $inPod = concat $inPod (list "ext_authz_grpc" "ext_authz_http") -}}
{{- end -}}
{{- range $name, $address := $config.listen -}}
{{- if and $address (not (has $name $inPod)) (include "portcullis.isLocal" $address) -}}
{{- fail (printf "config.listen.%s is %s, which nothing outside the pod can reach. Use 0.0.0.0 or [::]" $name $address) -}}
{{- end -}}
{{- end -}}
{{- $believes := "" -}}
{{- with $config.ext_authz -}}
{{- if .jwt_authn -}}
{{- $believes = "config.ext_authz.jwt_authn" -}}
{{- end -}}
{{- end -}}
{{- range $index, $issuer := $config.issuers -}}
{{- if eq (default "" $issuer.kind) "spiffe" -}}
{{- $believes = printf "config.issuers[%d]" $index -}}
{{- end -}}
{{- end -}}
{{- if and $believes (not (include "portcullis.isLocal" (default "" $config.listen.ext_authz_grpc))) -}}
{{- fail (printf "%s takes Envoy's word about who is calling, which counts over loopback or a Unix socket only: use mode: sidecar with config.listen.ext_authz_grpc: 127.0.0.1:9191" $believes) -}}
{{- end -}}
{{- $policies := default dict $config.policies -}}
{{- $own := .Values.policies -}}
{{- $folder := "/etc/portcullis/policies" -}}
{{- if not $policies.source -}}
{{- if not (or $own.files $own.existingConfigMaps) -}}
{{- fail "there are no policies: set policies.files, policies.existingConfigMaps or config.policies.source" -}}
{{- end -}}
{{- $_ := set $policies "source" (dict "dir" $folder) -}}
{{- end -}}
{{- if and $own.schema (not $policies.schema) -}}
{{- $_ := set $policies "schema" (printf "%s/schema.cedarschema" $folder) -}}
{{- end -}}
{{- if and $own.entities (not $policies.entities) -}}
{{- $_ := set $policies "entities" (printf "%s/entities.json" $folder) -}}
{{- end -}}
{{- $_ := set $config "policies" $policies -}}
{{- if and $own.routes (not $config.routes) -}}
{{- $_ := set $config "routes" (dict "file" (printf "%s/routes.yaml" $folder)) -}}
{{- end -}}
{{- if .Values.redis.existingSecret -}}
{{- $redis := default dict $config.redis -}}
{{- $_ := set $redis "url" (dict "file" "/etc/portcullis/secrets/redis/url") -}}
{{- $_ := set $config "redis" $redis -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- /* Whether an address is reached from within the pod only. */ -}}
{{- define "portcullis.isLocal" -}}
{{- if or (hasPrefix "127." .) (hasPrefix "localhost:" .) (hasPrefix "[::1]" .) (hasPrefix "unix:" .) -}}true{{- end -}}
{{- end -}}

{{- /* The port number of an address such as 0.0.0.0:8000; empty for a Unix socket. */ -}}
{{- define "portcullis.port" -}}
{{- if not (hasPrefix "unix:" .) -}}
{{- regexFind "[0-9]+$" . -}}
{{- end -}}
{{- end -}}

{{- /* Port names have at most 15 characters, and their prefix tells Istio the protocol. */ -}}
{{- define "portcullis.portName" -}}
{{- get (dict "proxy" "http" "decisions" "http-decisions" "ext_authz_grpc" "grpc-ext-authz" "ext_authz_http" "http-ext-authz" "admin" "http-admin" "telemetry" "http-telemetry") . -}}
{{- end -}}
