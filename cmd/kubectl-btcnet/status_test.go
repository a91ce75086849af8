package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// TestStatusOfTroubledNetwork is what people see of a network, in testdata.
func TestStatusOfTroubledNetwork(t *testing.T) {
	text, err := os.ReadFile("testdata/network.yaml")
	if err != nil {
		t.Fatal(err)
	}
	n := &api.Network{}
	if err := yaml.UnmarshalStrict(text, n); err != nil {
		t.Fatal(err)
	}
	shown := statusTree(n, time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC))
	for file, colours := range map[string]bool{"testdata/status.txt": false, "testdata/status-colours.txt": true} {
		want, err := os.ReadFile(file)
		if diff := cmp.Diff(string(want), strings.ReplaceAll(shown.draw(colours), "\x1b", "ESC")); err != nil || diff != "" {
			t.Errorf("%s: %v, %s", file, err, diff)
		}
	}
}

func TestWhatANetworkLacks(t *testing.T) {
	is := func(generation int64, status metav1.ConditionStatus) *api.Network {
		n := &api.Network{}
		n.Generation = 2
		n.Status.Conditions = []metav1.Condition{{Type: api.ConditionReady, Status: status, ObservedGeneration: generation,
			Message: "1 node is\nnot ready"}}
		return n
	}
	for name, row := range map[string]struct {
		network *api.Network
		want    string
	}{
		"it is so":                          {is(2, metav1.ConditionTrue), ""},
		"it isn't":                          {is(2, metav1.ConditionFalse), "1 node is not ready"},
		"nobody knows":                      {is(2, metav1.ConditionUnknown), "1 node is not ready"},
		"it was so of the spec before":      {is(1, metav1.ConditionTrue), "the controller is yet to look at it"},
		"the controller has not been there": {&api.Network{}, "the controller is yet to look at it"},
	} {
		if got := lacks(row.network, api.ConditionReady); got != row.want {
			t.Errorf("%s: %q, want %q", name, got, row.want)
		}
	}
	n := is(2, metav1.ConditionFalse)
	if got := stalled(n); got != "" {
		t.Errorf("a network that waits for nobody: %q", got)
	}
	n.Status.Conditions = append(n.Status.Conditions, metav1.Condition{Type: api.ConditionStalled, Status: metav1.ConditionTrue,
		Reason: "SecretNotFound", Message: "create it"})
	if got := stalled(n); got != "; Stalled: SecretNotFound: create it" {
		t.Errorf("a network that waits for a user: %q", got)
	}
}

func TestChangesAreShownUntilTheNetworkGoes(t *testing.T) {
	named := func(version string) *unstructured.Unstructured {
		object := &unstructured.Unstructured{}
		object.SetNamespace("ns")
		object.SetName("my-network")
		object.SetResourceVersion(version)
		return object
	}
	var shown []string
	show := func(object *unstructured.Unstructured) error {
		shown = append(shown, object.GetResourceVersion())
		return nil
	}
	changes := watch.NewFakeWithChanSize(4, false)
	changes.Modify(named("2"))
	changes.Error(&metav1.Status{Reason: metav1.StatusReasonExpired})
	changes.Modify(named("3"))
	changes.Delete(named("4"))
	err := showChanges(changes, show)
	if diff := cmp.Diff([]string{"2", "3"}, shown); diff != "" || err == nil ||
		err.Error() != "BitcoinNetwork ns/my-network is deleted" {
		t.Errorf("%v, %s", err, diff)
	}
	if err := showChanges(watch.NewEmptyWatch(), show); err != nil {
		t.Errorf("a watch that ends: %v", err)
	}
}

func TestTerminalsThatKnowEscapes(t *testing.T) {
	for name, row := range map[string]struct {
		system, key, value string
		want               bool
	}{
		"a terminal":                  {"linux", "TERM", "xterm", true},
		"a terminal without its name": {"linux", "", "", false},
		"one that knows nothing":      {"darwin", "TERM", "dumb", false},
		"the console of Windows":      {"windows", "", "", false},
		"Windows Terminal":            {"windows", "WT_SESSION", "1", true},
	} {
		env := func(key string) string { return map[string]string{row.key: row.value}[key] }
		if got := knowsEscapes(row.system, env); got != row.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
