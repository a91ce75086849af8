{{/* bitcoin-controller.image is the image of the controller. */}}
{{- define "bitcoin-controller.image" -}}
{{- with .Values.image -}}
{{- .repository -}}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* bitcoin-controller.args are the arguments of manifests/ with the node image of the values, and what these add. */}}
{{- define "bitcoin-controller.args" -}}
{{- $values := .root.Values -}}
{{- $args := list -}}
{{- range .args -}}
{{-   $args = append $args (hasPrefix "--node-image=" . | ternary (printf "--node-image=%s" $values.nodeImage) .) -}}
{{- end -}}
{{- if eq $values.scope "namespace" -}}
{{-   $args = append $args "--namespace=$(NAMESPACE)" -}}
{{- end -}}
{{- range $flag, $value := $values.flags -}}
{{-   if kindIs "float64" $value -}}
{{-     $value = int64 $value -}}{{/* a float64 is printed as 1e+06 */}}
{{-   end -}}
{{-   $args = append $args (printf "--%s=%v" (kebabcase $flag) $value) -}}
{{- end -}}
{{- concat $args $values.extraArgs | toYaml -}}
{{- end -}}

{{/*
bitcoin-controller.env is the environment of manifests/, and what the values add to it. The Go runtime collects garbage
before it reaches GOMEMLIMIT, so that goes with the memory limit, and is none where there is none.
*/}}
{{- define "bitcoin-controller.env" -}}
{{- $values := .root.Values -}}
{{- $memory := dig "limits" "memory" "" $values.resources | default "" -}}
{{- $mebibytes := int64 (regexFind "^[0-9]+" $memory) -}}
{{- if hasSuffix "Gi" $memory -}}
{{-   $mebibytes = mul $mebibytes 1024 -}}
{{- end -}}
{{- $env := list -}}
{{- range .env -}}
{{-   if ne .name "GOMEMLIMIT" -}}
{{-     $env = append $env . -}}
{{-   else if $memory -}}
{{-     $env = append $env (dict "name" .name "value" (printf "%dMiB" (div (mul $mebibytes 9) 10))) -}}
{{-   end -}}
{{- end -}}
{{- if eq $values.scope "namespace" -}}
{{-   $own := dict "fieldRef" (dict "fieldPath" "metadata.namespace") -}}
{{-   $env = append $env (dict "name" "NAMESPACE" "valueFrom" $own) -}}
{{- end -}}
{{- concat $env $values.extraEnv | toYaml -}}
{{- end -}}
