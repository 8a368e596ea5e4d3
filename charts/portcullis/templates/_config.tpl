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
{{- range $name, $address := $config.listen -}}
{{- if and $address (ne $name "decisions") (ne $name "admin") (or (hasPrefix "127." $address) (hasPrefix "localhost:" $address) (hasPrefix "[::1]" $address)) -}}
{{- fail (printf "config.listen.%s is %s, which nothing outside the pod can reach. Use 0.0.0.0 or [::]" $name $address) -}}
{{- end -}}
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
