package faults

import (
	"net/http"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Class is a kind of request.
type Class string

// Writes are what changes a child or a network: Leases and events are told apart, as they come when they come.
const (
	Write Class = "write"
	Read  Class = "read" // of one object
	List  Class = "list"
	Watch Class = "watch" // an event of one
	Open  Class = "open"  // the beginning of a watch
	Other Class = "other"
)

// Request is what a rule is compared with.
type Request struct {
	Class     Class
	Resource  string // with its subresource, as in "bitcoinnetworks/status"
	Namespace string
}

// RequestOf reads what an HTTP request asks of an apiserver, as that does. Kubernetes:
// apiserver/pkg/endpoints/request/requestinfo.go.
func RequestOf(r *http.Request) Request {
	is := Request{Class: Other}
	parts := strings.Split(strings.Trim(path.Clean(r.URL.Path), "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		parts = parts[3:]
	default: // discovery, /version, /readyz
		return is
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		is.Namespace, parts = parts[1], parts[2:]
	}
	is.Resource = parts[0]
	if len(parts) > 2 {
		is.Resource += "/" + parts[2]
	}
	switch {
	case slices.Contains([]string{"leases", "events", "selfsubjectaccessreviews"}, is.Resource):
	case r.URL.Query().Has("watch"):
		is.Class = Watch
	case r.Method == http.MethodGet && len(parts) == 1:
		is.Class = List
	case r.Method == http.MethodGet:
		is.Class = Read
	default:
		is.Class = Write
	}
	return is
}

// Verb is what a request of that method and Content-Type does with objects, in the words of an audit log, but for what is
// applied: that is no patch.
func (is Request) Verb(method, contentType string) string {
	switch {
	case is.Class == Watch:
		return "watch"
	case is.Class == List:
		return "list"
	case method == http.MethodGet || method == http.MethodHead:
		return "get"
	case method == http.MethodPost:
		return "create"
	case method == http.MethodPut:
		return "update"
	case method == http.MethodPatch && contentType == string(types.ApplyYAMLPatchType):
		return "apply"
	}
	return strings.ToLower(method)
}
