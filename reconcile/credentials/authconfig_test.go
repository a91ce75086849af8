package credentials

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// network is my-network.
func network() *api.Network {
	return &api.Network{ObjectMeta: metav1.ObjectMeta{
		Namespace: "default", Name: "my-network", UID: "5f6c7a1e-0000-4000-8000-000000000001",
	}}
}

func TestParseGenerations(t *testing.T) {
	for text, want := range map[string]string{
		"1": "1", "12": "12", "1,2": "1,2", "3,9": "3,9",
		"": "", "0": "", "-1": "", "01": "", "1, 2": "", "2,1": "",
		"1,1": "", "1,2,3": "", "1,": "", "a": "", "+1": "", "99999999999999999999": "",
	} {
		if got := ParseGenerations(text).String(); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

func TestWhichCredentialsANodeIsAskedWith(t *testing.T) {
	for name, row := range map[string]struct {
		node     Node
		recorded string
		want     int64 // 0 for none
	}{
		"what its pod tells": {Node{Accepts: Generations{1}, Fingerprint: testKey.Fingerprint()}, "1", 1},
		"the highest of two": {Node{Accepts: Generations{1, 2}, Fingerprint: testKey.Fingerprint()}, "1,2",
			2},
		"a pod of before the rotation": {Node{Accepts: Generations{1}, Fingerprint: testKey.Fingerprint()}, "1,2", 1},
		"a pod of before the old one went": {
			Node{Accepts: Generations{1, 2}, Fingerprint: testKey.Fingerprint()}, "2", 2,
		},
		"a pod that tells nothing":            {Node{}, "1,2", 1},
		"a pod that tells nothing, no record": {Node{}, "", 3},
		"a generation that never was": {Node{Accepts: Generations{9}, Fingerprint: testKey.Fingerprint()},
			"1,2", 1},
		"a pod that was made with another key": {Node{Accepts: Generations{1}, Fingerprint: "00"}, "2", 0},
	} {
		t.Run(name, func(t *testing.T) {
			n := network()
			n.Spec.Credentials.Generation = 3
			logins := testKey.Logins(n, api.CredentialsStatus{Accepted: ParseGenerations(row.recorded)},
				[]Node{row.node})
			want := Login{}
			if row.want != 0 {
				want = testKey.Login(ControllerUser, n.UID, row.want)
			}
			if logins[0] != want {
				t.Errorf("other credentials than those of generation %d", row.want)
			}
		})
	}
}

func TestPodsTellWhatTheyWereMadeWith(t *testing.T) {
	recorded := api.CredentialsStatus{KeyFingerprint: testKey.Fingerprint(), Accepted: []int64{1, 2}}
	fingerprint, accepts := ReadAnnotations(testKey.AuthConfig("a", recorded).Annotations())
	if fingerprint != testKey.Fingerprint() || accepts.String() != "1,2" {
		t.Errorf("%s, %v", fingerprint, accepts)
	}
}

func TestTheRecordedOwnUserComesLast(t *testing.T) {
	recorded := api.CredentialsStatus{Accepted: []int64{2},
		OwnUser: &api.OwnUser{Secret: "own", RPCAuth: "own:salt$hash"}}
	want := []string{testKey.rpcauth(ControllerUser, "a", 2), testKey.rpcauth(ApplicationUser, "a", 2), "own:salt$hash"}
	if diff := cmp.Diff(want, testKey.AuthConfig("a", recorded).RPCAuth); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
