{{/*
All objects are read from manifests/, which is also what `kubectl apply -k` installs, so both ways install the same. The
templates change only what values ask for.

bitcoin-controller.object prints an object of manifests/ as one of this release: in its namespace, unless the object is
the cluster's, and with the labels that Helm's conventions ask for. Pods and selectors get none of these: they would be
replaced with each version of the chart.
*/}}
{{- define "bitcoin-controller.object" -}}
{{- $object := required "a file of manifests/ is missing in the chart" .object -}}
{{- $release := .root.Release -}}
{{- $chart := printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{- $labels := dict "helm.sh/chart" $chart
    "app.kubernetes.io/name" "bitcoin-controller"
    "app.kubernetes.io/instance" $release.Name
    "app.kubernetes.io/version" (.root.Chart.AppVersion | toString | trunc 63)
    "app.kubernetes.io/managed-by" $release.Service -}}
{{- $_ := set $object.metadata "labels" (merge dict ($object.metadata.labels | default dict) $labels) -}}
{{- if not (has $object.kind (list "CustomResourceDefinition" "ClusterRole" "ClusterRoleBinding")) -}}
{{-   $_ := set $object.metadata "namespace" $release.Namespace -}}
{{- end -}}
---
{{ toYaml $object }}
{{ end -}}
