package audit

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// log has lines that are continued by two spaces, which one of the apiserver has not.
const log = `
{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1","stage":"ResponseStarted",
  "requestURI":"/api/v1/pods?allowWatchBookmarks=true\u0026sendInitialEvents=true","verb":"watch",
  "user":{"username":"me"},"objectRef":{"resource":"pods","apiVersion":"v1"},"responseStatus":{"code":200},
  "requestReceivedTimestamp":"2026-01-02T03:04:05.6Z","annotations":{"authorization.k8s.io/decision":"allow"}}
{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"1","stage":"ResponseComplete",
  "verb":"watch","user":{"username":"me"},"objectRef":{"resource":"pods","apiVersion":"v1"},
  "responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-02T03:04:05.6Z",
  "annotations":{"authorization.k8s.io/decision":"allow"}}
{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"2","stage":"ResponseComplete",
  "verb":"patch","user":{"username":"me"},"objectRef":{"resource":"things","namespace":"n","name":"a",
  "apiGroup":"g","subresource":"status"},"responseStatus":{"code":201},
  "requestReceivedTimestamp":"2026-01-02T03:04:06Z","annotations":{"authorization.k8s.io/decision":"allow"}}
{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"3","stage":"ResponseComplete",
  "verb":"get","user":{"username":"other"},"objectRef":{"resource":"secrets","namespace":"n","name":"a"},
  "responseStatus":{"code":403},"requestReceivedTimestamp":"2026-01-02T03:04:07Z",
  "annotations":{"authorization.k8s.io/decision":"forbid"}}
{"kind":"Event","apiVersion":"audit.k8s.io/v1","stage":"a line that is still being wri`

func TestRead(t *testing.T) {
	got, err := Read(strings.NewReader(strings.ReplaceAll(strings.TrimSpace(log), "\n  ", "")))
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	want := []Request{
		{User: "me", Verb: "watch", Resource: "pods", Code: 200, Streams: true, Time: at.Add(600 * time.Millisecond)},
		{User: "me", Verb: "patch", Group: "g", Resource: "things/status", Namespace: "n", Name: "a", Code: 201,
			Time: at.Add(time.Second)},
		{User: "other", Verb: "get", Resource: "secrets", Namespace: "n", Name: "a", Code: 403, Forbidden: true,
			Time: at.Add(2 * time.Second)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if mine := Of("me", got); len(mine) != 2 || len(got) != 3 {
		t.Errorf("of %d requests, %v are mine", len(got), mine)
	}
	if _, err := Read(strings.NewReader("nonsense\n")); err == nil {
		t.Error("nonsense is no error")
	}
}

func TestAGrantIsUsedByWhatNeedsIt(t *testing.T) {
	for name, row := range map[string]struct {
		rule string // of a Role, in YAML's flow style
		by   Request
		want bool
	}{
		"the same verb": {"{apiGroups: [g], resources: [things], verbs: [get]}",
			Request{Verb: "get", Group: "g", Resource: "things", Code: 404}, true},
		"another verb": {"{apiGroups: [g], resources: [things], verbs: [get]}",
			Request{Verb: "list", Group: "g", Resource: "things", Code: 200}, false},
		"another group": {"{apiGroups: [g], resources: [things], verbs: [get]}",
			Request{Verb: "get", Resource: "things", Code: 200}, false},
		"a subresource": {"{apiGroups: [g], resources: [things/status], verbs: [patch]}",
			Request{Verb: "patch", Group: "g", Resource: "things/status", Code: 200}, true},
		"the resource of a subresource": {
			"{apiGroups: [g], resources: [things], verbs: [patch]}", Request{Verb: "patch", Group: "g",
				Resource: "things/status", Code: 200}, false,
		},
		"create by an apply that created": {"{apiGroups: [g], resources: [things], verbs: [create]}",
			Request{Verb: "patch", Group: "g", Resource: "things", Code: 201}, true},
		"patch by an apply that created": {"{apiGroups: [g], resources: [things], verbs: [patch]}",
			Request{Verb: "patch", Group: "g", Resource: "things", Code: 201}, true},
		"create by an apply that changed": {"{apiGroups: [g], resources: [things], verbs: [create]}",
			Request{Verb: "patch", Group: "g", Resource: "things", Code: 200}, false},
		"list by a watch that begins with what there is": {
			"{apiGroups: [g], resources: [things], verbs: [list]}", Request{Verb: "watch", Group: "g",
				Resource: "things", Code: 200, Streams: true}, true,
		},
		"watch by a watch that begins with what there is": {
			"{apiGroups: [g], resources: [things], verbs: [watch]}", Request{Verb: "watch", Group: "g",
				Resource: "things", Code: 200, Streams: true}, true,
		},
		"list by a watch of what comes": {
			"{apiGroups: [g], resources: [things], verbs: [list]}", Request{Verb: "watch", Group: "g",
				Resource: "things", Code: 200}, false,
		},
		"the name that is granted": {
			"{apiGroups: [g], resources: [things], verbs: [get], resourceNames: [a, b]}", Request{Verb: "get",
				Group: "g", Resource: "things", Name: "b", Code: 200}, true,
		},
		"another name": {
			"{apiGroups: [g], resources: [things], verbs: [get], resourceNames: [a, b]}", Request{Verb: "get",
				Group: "g", Resource: "things", Name: "c", Code: 200}, false,
		},
		"what was forbidden needs more": {"{apiGroups: [g], resources: [things], verbs: [get]}",
			Request{Verb: "get", Group: "g", Resource: "things", Code: 403, Forbidden: true}, false},
	} {
		for _, kind := range []string{"Role", "ClusterRole"} {
			t.Run(kind+": "+name, func(t *testing.T) {
				grants, err := Grants(strings.NewReader("kind: ServiceAccount\n---\nkind: " + kind + "\nrules: [" +
					row.rule + "]"))
				if err != nil {
					t.Fatal(err)
				}
				if len(grants) != 1 {
					t.Fatalf("grants are %v", grants)
				}
				if got := grants[0].Used([]Request{row.by}); got != row.want {
					t.Errorf("%s used by %s: %v", grants[0], row.by, got)
				}
			})
		}
	}
}

func TestWhichRequestsAreWrites(t *testing.T) {
	for name, row := range map[string]struct {
		request Request
		want    bool
	}{
		"create":                   {Request{Verb: "create", Resource: "secrets"}, true},
		"update":                   {Request{Verb: "update", Resource: "things"}, true},
		"patch, be it of a status": {Request{Verb: "patch", Resource: "things/status"}, true},
		"delete":                   {Request{Verb: "delete", Resource: "things"}, true},
		"deletecollection":         {Request{Verb: "deletecollection", Resource: "things"}, true},
		"get":                      {Request{Verb: "get", Resource: "things"}, false},
		"watch":                    {Request{Verb: "watch", Resource: "things"}, false},
		"an event":                 {Request{Verb: "create", Resource: "events"}, false},
		"a Lease that is renewed":  {Request{Verb: "update", Resource: "leases"}, false},
	} {
		if got := row.request.Write(); got != row.want {
			t.Errorf("%s is a write: %v", name, got)
		}
	}
}

func TestWhatIsNeitherUsedNorGranted(t *testing.T) {
	finalizers := Grant{Verb: "update", Group: "bitcoincontroller.christianb93.github.com",
		Resource: "bitcoinnetworks/finalizers"}
	used, unused := Grant{Verb: "list", Resource: "pods"}, Grant{Verb: "delete", Resource: "pods"}
	requests := []Request{
		{Verb: "list", Resource: "pods", Code: 200},
		{Verb: "delete", Resource: "pods", Code: 403, Forbidden: true},
		{Verb: "get", Resource: "secrets", Name: "my-network-rpc", Code: 403, Forbidden: true},
		{Verb: "get", Resource: "secrets", Code: 403, Forbidden: true},
		{Verb: "list", Resource: "secrets", Name: "mine", Code: 403, Forbidden: true},
		{Verb: "get", Resource: "configmaps", Name: "mine", Code: 403, Forbidden: true},
		{Verb: "get", Group: "g", Resource: "secrets", Name: "mine", Code: 403, Forbidden: true},
		{Verb: "get", Resource: "secrets", Name: "mine", Code: 403, Forbidden: true}, // on purpose
		// By admission, as in a namespace that goes.
		{Verb: "create", Resource: "pods", Code: 403},
	}
	if diff := cmp.Diff([]Grant{unused}, Unused([]Grant{finalizers, used, unused}, requests)); diff != "" {
		t.Errorf("unused: -want +got:\n%s", diff)
	}
	if diff := cmp.Diff(requests[1:7], Refused(requests)); diff != "" {
		t.Errorf("refused: -want +got:\n%s", diff)
	}
}

// shipped are the grants of the rules that users install.
func shipped(t *testing.T) []Grant {
	t.Helper()
	rules, err := os.Open("../../manifests/controller/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer rules.Close()
	grants, err := Grants(rules)
	if err != nil {
		t.Fatal(err)
	}
	if len(grants) == 0 {
		t.Fatal("they grant nothing")
	}
	return grants
}

// TestTheRulesOfTheControllerAreNarrow names what must never be granted, whoever may come to need it.
func TestTheRulesOfTheControllerAreNarrow(t *testing.T) {
	grants := shipped(t)
	for _, grant := range grants {
		switch {
		case strings.Contains(grant.String(), "*"):
			t.Errorf("a wildcard: %s", grant)
		case strings.HasPrefix(grant.Verb, "delete"):
			t.Errorf("what a network owned is for garbage collection to delete: %s", grant)
		case grant.Resource == "secrets" && grant.Verb != "create" && grant.Names == "":
			t.Errorf("all Secrets, or as good as that: %s", grant)
		case grant.Group == "rbac.authorization.k8s.io", slices.Contains([]string{"impersonate", "escalate", "bind"},
			grant.Verb):
			t.Errorf("the way to all other rights: %s", grant)
		}
	}
}
