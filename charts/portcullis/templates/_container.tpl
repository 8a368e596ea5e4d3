{{- /*
The container. A service's chart that has this one as a dependency includes it, with the volumes:

  containers:
    {{- include "portcullis.container" .Subcharts.portcullis | nindent 4 }}
  volumes:
    {{- include "portcullis.volumes" .Subcharts.portcullis | nindent 4 }}

or `portcullis.sidecar` under `initContainers`, which starts before the service and ends after it.
*/ -}}
{{- define "portcullis.container" -}}
{{- $config := include "portcullis.config" . | fromYaml -}}
- name: portcullis
  image: {{ include "portcullis.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [serve, -c, /etc/portcullis/config/portcullis.yaml]
  env:
    - { name: PORTCULLIS_LOG, value: {{ .Values.logLevel | quote }} }
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  ports:
    {{- range $name, $address := $config.listen }}
    {{- with include "portcullis.port" $address }}
    {{- if not (include "portcullis.isLocal" $address) }}
    - { name: {{ include "portcullis.portName" $name }}, containerPort: {{ . }}, protocol: TCP }
    {{- end }}
    {{- end }}
    {{- end }}
  {{- $telemetry := include "portcullis.port" $config.listen.telemetry }}
  startupProbe:
    httpGet: { path: /readyz, port: {{ $telemetry }} }
    periodSeconds: 1
    failureThreshold: 120
  readinessProbe:
    httpGet: { path: /readyz, port: {{ $telemetry }} }
    periodSeconds: 5
    timeoutSeconds: 2
  livenessProbe:
    httpGet: { path: /livez, port: {{ $telemetry }} }
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  {{- if and .Values.preStopSleepSeconds (semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version) }}
  lifecycle:
    preStop:
      sleep: { seconds: {{ .Values.preStopSleepSeconds }} }
  {{- end }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    runAsNonRoot: {{ .Values.podSecurityContext.runAsNonRoot }}
    {{- with .Values.podSecurityContext.runAsUser }}
    runAsUser: {{ . }}
    {{- end }}
    {{- with .Values.podSecurityContext.seccompProfile }}
    seccompProfile:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- toYaml .Values.containerSecurityContext | nindent 4 }}
  volumeMounts:
    - { name: portcullis-config, mountPath: /etc/portcullis/config, readOnly: true }
    {{- if or (include "portcullis.ownPolicies" .) .Values.policies.existingConfigMaps }}
    - { name: portcullis-policies, mountPath: /etc/portcullis/policies, readOnly: true }
    {{- end }}
    {{- if .Values.redis.existingSecret }}
    - { name: portcullis-redis, mountPath: /etc/portcullis/secrets/redis, readOnly: true }
    {{- end }}
    {{- range $folder, $secret := .Values.secrets }}
    - { name: portcullis-secret-{{ $folder }}, mountPath: /etc/portcullis/secrets/{{ $folder }}, readOnly: true }
    {{- end }}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{- /* The container as a native sidecar, for `initContainers`. */ -}}
{{- define "portcullis.sidecar" -}}
{{ include "portcullis.container" . }}
  restartPolicy: Always
{{- end -}}

{{- define "portcullis.volumes" -}}
- name: portcullis-config
  configMap: { name: {{ include "portcullis.fullname" . }}-config }
{{- if or (include "portcullis.ownPolicies" .) .Values.policies.existingConfigMaps }}
- name: portcullis-policies
  projected:
    sources:
      {{- if include "portcullis.ownPolicies" . }}
      - configMap: { name: {{ include "portcullis.fullname" . }}-policies }
      {{- end }}
      {{- range .Values.policies.existingConfigMaps }}
      - configMap: { name: {{ . }} }
      {{- end }}
{{- end }}
{{- with .Values.redis }}
{{- if .existingSecret }}
- name: portcullis-redis
  secret:
    secretName: {{ .existingSecret }}
    items: [{ key: {{ .key }}, path: url }]
{{- end }}
{{- end }}
{{- range $folder, $secret := .Values.secrets }}
- name: portcullis-secret-{{ $folder }}
  secret: { secretName: {{ $secret }} }
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
