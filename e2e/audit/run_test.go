//go:build e2e

package audit

import (
	"testing"
)

// TestTheRulesOfTheControllerAreExact comes after e2e/suite: what the audit log holds is all that was asked since the
// cluster was made.
func TestTheRulesOfTheControllerAreExact(t *testing.T) {
	all, err := OfCluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	requests := Of(Controller("bitcoin-controller"), all)
	grants := shipped(t)
	for _, grant := range Unused(grants, requests) {
		t.Errorf("granted by manifests/controller/rbac.yaml and never used: %s", grant)
	}
	for _, request := range Refused(requests) {
		t.Errorf("not granted: %s", request)
	}
	t.Logf("%d requests of the controller, %d verbs granted", len(requests), len(grants))
}
