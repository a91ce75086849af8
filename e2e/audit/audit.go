// Package audit reads the audit log of an apiserver, and compares what was asked with what RBAC rules allow.
package audit

import (
	"bufio"
	_ "embed" // the policy
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// Policy is what the apiserver of a test is to log: --audit-policy-file.
//
//go:embed policy.yaml
var Policy []byte

// Request is one that the apiserver answered, or began to, in the case of a watch.
type Request struct {
	User string
	Verb string
	// Resource is as in RBAC rules: bitcoinnetworks/status. It is empty if the request was about none.
	Group, Resource string
	Namespace, Name string
	Code            int
	// Streams is whether it is a watch that begins with what there is, as informers ask instead of a list.
	Streams bool
	// Forbidden is whether RBAC didn't allow it. Code 403 alone may mean that something else did not, such as the end
	// of a namespace.
	Forbidden bool
	Time      time.Time
}

// Write is whether the request was to change something that is kept: no event, and no Lease.
func (r Request) Write() bool {
	return r.Resource != "events" && r.Resource != "leases" &&
		slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, r.Verb)
}

func (r Request) String() string {
	return fmt.Sprintf("%s %s %s/%s: %d", r.Verb, resource(r.Group, r.Resource), r.Namespace, r.Name, r.Code)
}

// resource is how a resource is called in messages.
func resource(group, name string) string {
	if group == "" {
		return name
	}
	return name + " (" + group + ")"
}

// event is a line of an audit log. Kubernetes: audit.k8s.io/v1.
type event struct {
	AuditID   string
	User      struct{ Username string }
	Verb      string
	ObjectRef struct {
		APIGroup, Resource, Subresource, Namespace, Name string
	}
	RequestURI               string
	ResponseStatus           struct{ Code int }
	RequestReceivedTimestamp time.Time
	Annotations              map[string]string
}

// ReadFile is Read of a file.
func ReadFile(path string) ([]Request, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	defer file.Close()
	return Read(file)
}

// Read returns the requests of an audit log, each once.
func Read(log io.Reader) ([]Request, error) {
	var requests []Request
	seen := map[string]bool{} // a watch is told of when it begins and when it ends
	lines := bufio.NewReader(log)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return requests, nil // what comes after the last line's end is still being written
		}
		if err != nil {
			return nil, fmt.Errorf("read audit log: %w", err)
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("read audit log: %w: %s", err, line)
		}
		if seen[e.AuditID] {
			continue
		}
		seen[e.AuditID] = true
		requests = append(requests, e.request())
	}
}

func (e event) request() Request {
	r := Request{
		User: e.User.Username, Verb: e.Verb, Group: e.ObjectRef.APIGroup, Resource: e.ObjectRef.Resource,
		Namespace: e.ObjectRef.Namespace, Name: e.ObjectRef.Name,
		Code: e.ResponseStatus.Code, Time: e.RequestReceivedTimestamp,
		Streams:   e.Verb == "watch" && strings.Contains(e.RequestURI, "sendInitialEvents=true"),
		Forbidden: e.Annotations["authorization.k8s.io/decision"] == "forbid",
	}
	if e.ObjectRef.Subresource != "" {
		r.Resource += "/" + e.ObjectRef.Subresource
	}
	return r
}

// Grant is a verb that a rule allows on a resource, if Names is not empty only of those names, with commas in between.
type Grant struct{ Verb, Group, Resource, Names string }

func (g Grant) String() string {
	return strings.TrimSpace(g.Verb + " " + resource(g.Group, g.Resource) + " " + g.Names)
}

// Grants are those of all Roles and ClusterRoles in a stream of YAML documents.
func Grants(manifests io.Reader) ([]Grant, error) {
	var grants []Grant
	documents := utilyaml.NewYAMLOrJSONDecoder(manifests, 4096)
	for {
		var role rbacv1.ClusterRole // of which a Role is a part
		err := documents.Decode(&role)
		if err == io.EOF {
			return grants, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read RBAC rules: %w", err)
		}
		if role.Kind != "Role" && role.Kind != "ClusterRole" {
			continue
		}
		for _, rule := range role.Rules {
			grants = append(grants, grantsOf(rule)...)
		}
	}
}

func grantsOf(rule rbacv1.PolicyRule) []Grant {
	var grants []Grant
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				grants = append(grants, Grant{Verb: verb, Group: group, Resource: resource,
					Names: strings.Join(rule.ResourceNames, ",")})
			}
		}
	}
	return grants
}

// neverAsked are grants that no request shows to be needed.
var neverAsked = map[Grant]string{
	{Verb: "update", Group: "bitcoincontroller.christianb93.github.com",
		Resource: "bitcoinnetworks/finalizers"}: "looked up by the admission plugin " +
		"OwnerReferencesPermissionEnforcement, as OpenShift has it",
}

// Unused are the grants that none of the requests needed.
func Unused(grants []Grant, requests []Request) []Grant {
	return slices.DeleteFunc(slices.Clone(grants),
		func(g Grant) bool { return neverAsked[g] != "" || g.Used(requests) })
}

// onPurpose are requests that tests have the controller make in vain, each of one name: the controller must not even
// try to read a Secret that no test has in spec.secret, such as <name>-rpc.
var onPurpose = map[Grant]string{
	{Verb: "get", Resource: "secrets", Names: "bitcoin-default-secret"}: "nobody allowed the controller " +
		"to read it yet, and the status says what to grant",
	{Verb: "get", Resource: "secrets", Names: "mine"}: "its namespace goes, " +
		"and the Role in it may go first",
}

// Refused are the requests that RBAC did not allow, but for those that are refused on purpose.
func Refused(requests []Request) []Request {
	return slices.DeleteFunc(slices.Clone(requests), func(r Request) bool {
		return !r.Forbidden || onPurpose[Grant{Verb: r.Verb, Group: r.Group, Resource: r.Resource, Names: r.Name}] != ""
	})
}

// Used is whether one of the requests needed the grant.
func (g Grant) Used(requests []Request) bool {
	return slices.ContainsFunc(requests, func(r Request) bool {
		named := g.Names == "" || slices.Contains(strings.Split(g.Names, ","), r.Name)
		return named && !r.Forbidden && r.Group == g.Group && r.Resource == g.Resource &&
			slices.Contains(r.needs(), g.Verb)
	})
}

// needs are the verbs that RBAC has to allow for the request. Server-side apply that makes an object needs two; and
// where an apiserver doesn't know how to stream what there is (before Kubernetes 1.32), informers do with a list.
func (r Request) needs() []string {
	switch {
	case r.Verb == "patch" && r.Code == http.StatusCreated:
		return []string{"patch", "create"}
	case r.Streams:
		return []string{"watch", "list"}
	}
	return []string{r.Verb}
}

// Controller is who the controller is that manifests/ install in the given namespace.
func Controller(namespace string) string {
	return "system:serviceaccount:" + namespace + ":bitcoin-controller"
}

// Of are the requests of one user.
func Of(user string, requests []Request) []Request {
	return slices.DeleteFunc(slices.Clone(requests), func(r Request) bool { return r.User != user })
}
