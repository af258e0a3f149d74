{{/* What all objects are named after. */}}
{{- define "kafka-sidecar.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-{{ .Chart.Name }}{{ end -}}
{{- end }}

{{/* Labels that never change: Deployments select by them. Takes (dict "root" $ "component" NAME). */}}
{{- define "kafka-sidecar.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "kafka-sidecar.labels" -}}
{{ include "kafka-sidecar.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{/* An image with its digest if there is one, else with its tag. Takes (dict "image" IMAGE "tag" DEFAULT). */}}
{{- define "kafka-sidecar.image" -}}
{{- if .image.digest }}{{ .image.repository }}@{{ .image.digest }}
{{- else }}{{ .image.repository }}:{{ .image.tag | default .tag }}{{ end }}
{{- end }}

{{/* The sidecar's config. Takes (dict "root" $ "lambdas" LAMBDAS). */}}
{{- define "kafka-sidecar.config" -}}
kafka: {{- toYaml .root.Values.kafka | nindent 2 }}
{{- if eq .root.Values.mode "sidecar" }}
server: {listen: "unix:///run/kafka-sidecar/sidecar.sock"}
{{- else }}
server:
  {{- if .root.Values.server.ownTokens }}
  listen: 0.0.0.0:50051
  identities:
    {{- range $name, $_ := .lambdas }}
    - {name: {{ $name }}, token_file: /etc/kafka-sidecar-tokens/{{ $name }}, lambdas: [{{ $name }}]}
    {{- end }}
  {{- else }}
  listen: 0.0.0.0:50051  # with the token in $KAFKA_SIDECAR_TOKEN
  {{- end }}
  {{- if .root.Values.server.adminToken }}
  admin_token: ${KAFKA_SIDECAR_ADMIN_TOKEN}
  {{- end }}
  {{- if .root.Values.server.tlsSecret }}
  tls: {certificate: /etc/kafka-sidecar-tls/tls.crt, key: /etc/kafka-sidecar-tls/tls.key}
  {{- end }}
{{- end }}
operate: {listen: "0.0.0.0:8080", insecure: true}  # the NetworkPolicy says who may read it
lambdas:
  {{- $drain := dict "shutdown_drain" (printf "%ds" (int .root.Values.shutdownDrainSeconds)) }}
  {{- range $name, $lambda := .lambdas }}
  {{ $name }}: {{- toYaml (merge (deepCopy $lambda.config) $drain) | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Refuse what would contradict the chart's own values. */}}
{{- define "kafka-sidecar.check" -}}
{{- range $name, $lambda := .Values.lambdas }}
{{- range $key, $instead := dict "shutdown_drain" "shutdownDrainSeconds, which the grace period follows" "command" (printf "lambdas.%s.command" $name) "instances" (printf "lambdas.%s.replicas" $name) "env" (printf "lambdas.%s.env" $name) "cwd" "the image's working directory" }}
{{- if hasKey $lambda.config $key }}
{{- fail (printf "lambdas.%s.config.%s: the chart sets this itself; use %s" $name $key $instead) }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (eq .Values.mode "deployment") (not .Values.server.tokenSecret) }}
{{- fail "server.tokenSecret: mode deployment listens on the pod's network, so lambdas must show a token; make a Secret with the key `token`, and name it here" }}
{{- end }}
{{- if and (eq .Values.mode "deployment") .Values.server.ownTokens (not .Values.server.adminToken) }}
{{- fail "server.ownTokens: without server.adminToken nobody could operate the sidecar; set it, and add the key `admin-token` to the Secret" }}
{{- end }}
{{- end }}

{{/* How long an end may take: the lambdas' drain; then to commit and leave the group (15 s), to flush what lambdas
produced (5 s), and for the last calls (2 s and 1 s). A test reads these numbers from the code. */}}
{{- define "kafka-sidecar.grace" -}}
{{ add (int .Values.shutdownDrainSeconds) 25 }}
{{- end }}

{{- define "kafka-sidecar.pod" -}}
automountServiceAccountToken: false
serviceAccountName: {{ include "kafka-sidecar.name" . }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "kafka-sidecar.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
# What a program said last, such as the mistakes in its config, is in `kubectl describe pod`.
terminationMessagePolicy: FallbackToLogsOnError
{{- end }}

{{/* The sidecar's container. */}}
{{- define "kafka-sidecar.container" -}}
name: sidecar
image: {{ include "kafka-sidecar.image" (dict "image" .Values.image "tag" .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
args: [kafka-sidecar, --log-format, json, --log-level, {{ .Values.logLevel }}]
env:
  # For `kubectl exec ... -- kafka-sidecar status` as well.
  - {name: KAFKA_SIDECAR_CONFIG, value: /etc/kafka-sidecar/config.yaml}
{{- if eq .Values.mode "deployment" }}
{{- if not .Values.server.ownTokens }}
  - name: KAFKA_SIDECAR_TOKEN
    valueFrom: {secretKeyRef: {name: {{ .Values.server.tokenSecret }}, key: token}}
{{- end }}
{{- if .Values.server.adminToken }}
  - name: KAFKA_SIDECAR_ADMIN_TOKEN
    valueFrom: {secretKeyRef: {name: {{ .Values.server.tokenSecret }}, key: admin-token}}
{{- end }}
{{- end }}
{{- with .Values.env }}
{{ toYaml . | indent 2 }}
{{- end }}
ports:
{{- if eq .Values.mode "deployment" }}
  - {name: grpc, containerPort: 50051}
{{- end }}
  - {name: operate, containerPort: 8080}
# The probes need no token. An answer takes 5 s at most: then a consumer thread hangs, and the answer is 503.
startupProbe:
  httpGet: {path: /healthz, port: operate}
  periodSeconds: 1
  timeoutSeconds: 6
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: operate}
  periodSeconds: 10
  timeoutSeconds: 6
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: operate}
  periodSeconds: 5
  timeoutSeconds: 6
{{ include "kafka-sidecar.confined" . }}
resources: {{- toYaml .Values.resources | nindent 2 }}
volumeMounts:
  - {name: config, mountPath: /etc/kafka-sidecar, readOnly: true}
  - {name: tmp, mountPath: /tmp}
{{- if eq .Values.mode "sidecar" }}
  - {name: socket, mountPath: /run/kafka-sidecar}
{{- else }}
{{- if .Values.server.tlsSecret }}
  - {name: tls, mountPath: /etc/kafka-sidecar-tls, readOnly: true}
{{- end }}
{{- if .Values.server.ownTokens }}
  - {name: tokens, mountPath: /etc/kafka-sidecar-tokens, readOnly: true}
{{- end }}
{{- end }}
{{- end }}

{{/* A lambda's container. Takes (dict "root" $ "name" NAME "lambda" LAMBDA). */}}
{{- define "kafka-sidecar.lambda-container" -}}
name: lambda
image: {{ include "kafka-sidecar.image" (dict "image" .lambda.image "tag" "") }}
imagePullPolicy: {{ .lambda.image.pullPolicy | default "IfNotPresent" }}
{{- with .lambda.command }}
command: {{- toYaml . | nindent 2 }}
{{- end }}
env:
{{- if eq .root.Values.mode "sidecar" }}
  - {name: KAFKA_SIDECAR_ADDRESS, value: "unix:///run/kafka-sidecar/sidecar.sock"}
{{- else }}
  - {name: KAFKA_SIDECAR_ADDRESS, value: "{{ include "kafka-sidecar.name" .root }}:50051"}
  - name: KAFKA_SIDECAR_TOKEN
    valueFrom: {secretKeyRef: {name: {{ .root.Values.server.tokenSecret }}, key: {{ if .root.Values.server.ownTokens }}{{ .name }}{{ else }}token{{ end }}}}
{{- if .root.Values.server.tlsSecret }}
  - {name: KAFKA_SIDECAR_CA, value: /etc/kafka-sidecar-tls/ca.crt}
{{- end }}
{{- end }}
  # Operators see it in `kafka-sidecar status`.
  - {name: KAFKA_SIDECAR_LAMBDA_VERSION, value: {{ .lambda.image.digest | default .lambda.image.tag | quote }}}
{{- with .lambda.env }}
{{ toYaml . | indent 2 }}
{{- end }}
{{ include "kafka-sidecar.confined" . }}
{{- with .lambda.resources }}
resources: {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
{{- if eq .root.Values.mode "sidecar" }}
  - {name: socket, mountPath: /run/kafka-sidecar}
{{- else if .root.Values.server.tlsSecret }}
  - {name: tls, mountPath: /etc/kafka-sidecar-tls, readOnly: true}
{{- end }}
{{- end }}

{{/* The records of one lambda that wait, in PromQL. More pods do not help a partition that an operator or the lambda
itself keeps still. Takes the labels of its series. */}}
{{- define "kafka-sidecar.waiting" -}}
sum(kafka_sidecar_partition_lag{{ . }} unless (kafka_sidecar_partition_halted{{ . }} + kafka_sidecar_partition_paused{{ . }} > 0))
{{- end }}

{{/* The labels of one lambda's series in PromQL. Takes (dict "root" $ "name" NAME). */}}
{{- define "kafka-sidecar.series" -}}
{namespace="{{ .root.Release.Namespace }}",lambda="{{ .name }}"}
{{- end }}
