package reconcile

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
)

func TestConfigurationHoldsNoPassword(t *testing.T) {
	n := network(3)
	recorded := api.CredentialsStatus{Accepted: []int64{1, 2}, OwnUser: &api.OwnUser{Secret: "own", RPCAuth: "own:salt$hash"}}
	conf := bitcoinConf(n, testKey.AuthConfig(n.UID, recorded))
	var users []string
	for line := range strings.Lines(conf) {
		if value, found := strings.CutPrefix(line, "rpcauth="); found {
			user, _, _ := strings.Cut(value, ":")
			users = append(users, user)
		}
		if strings.HasPrefix(line, "rpcwhitelist=") && !strings.HasPrefix(line, "rpcwhitelist="+controllerUser+":") {
			t.Errorf("somebody else is restricted: %s", line)
		}
	}
	if diff := cmp.Diff([]string{controllerUser, controllerUser, credentials.ApplicationUser, credentials.ApplicationUser, "own"}, users); diff != "" {
		t.Errorf("the users (-want +got):\n%s", diff)
	}
	if lines := strings.Count(conf, "rpcwhitelist="); lines != 1 {
		t.Errorf("%d rpcwhitelist lines: bitcoind intersects them", lines)
	}
	for _, user := range []string{controllerUser, credentials.ApplicationUser} {
		for generation := range int64(3) {
			if strings.Contains(conf, testKey.Login(user, n.UID, generation).Password) {
				t.Errorf("the password of %s is in bitcoin.conf", user)
			}
		}
	}
}

func TestTheSecretOfApplications(t *testing.T) {
	n := network(3)
	goldenIntent(t, "", child{secrets, rpcSecret(n, credentials.Login{User: credentials.ApplicationUser, Password: "hush"})})
	got := map[string]string{}
	for key, value := range rpcSecret(n, credentials.Login{User: credentials.ApplicationUser, Password: "hush"}).Data {
		got[key] = string(value)
	}
	const host = "my-network-sts-0.my-network-svc.default.svc"
	want := map[string]string{"username": "application", "password": "hush", "host": host, "port": "18443", "url": "http://application:hush@" + host + ":18443"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRotationProgress(t *testing.T) {
	for name, row := range map[string]struct {
		phase      api.CredentialsPhase
		accepted   []int64
		generation int64
		want       string
	}{
		"one for all":                    {api.PhaseStable, []int64{1}, 1, ""},
		"the new one is added":           {api.PhaseAdding, []int64{1, 2}, 1, "credentials of generation 2 are being added to those of generation 1"},
		"applications have the old":      {api.PhaseAwaitingSecret, []int64{1, 2}, 1, "delete Secret my-network-rpc: the controller makes it anew with credentials of generation 2"},
		"applications get the new":       {api.PhaseAwaitingRestart, []int64{1, 2}, 1, "restart what uses Secret my-network-rpc: credentials of generation 1 are soon dropped"},
		"the old one goes":               {api.PhaseDropping, []int64{2}, 1, "credentials of generation 1 are being dropped for those of generation 2"},
		"new ones after the key is lost": {api.PhaseAwaitingSecret, []int64{2}, 2, "delete Secret my-network-rpc"},
	} {
		t.Run(name, func(t *testing.T) {
			got := rotationProgress(network(1), api.CredentialsStatus{Phase: row.phase, Accepted: row.accepted, Generation: row.generation})
			if !strings.HasPrefix(got, row.want) || (row.want == "") != (got == "") {
				t.Errorf("it says %q, want %q", got, row.want)
			}
		})
	}
}

func TestSecretProblems(t *testing.T) {
	problem, other := secretProblem{"A", "a"}, errors.New("b")
	for name, row := range map[string]struct {
		problems secretProblems
		first    *secretProblem
		others   string
	}{
		"none":            {},
		"none of them":    {problems: secretProblems{nil, nil}},
		"for the user":    {problems: secretProblems{nil, problem}, first: &problem},
		"for another try": {problems: secretProblems{other, nil}, others: "b"},
		"of both kinds":   {problems: secretProblems{other, problem}, first: &problem, others: "b"},
	} {
		t.Run(name, func(t *testing.T) {
			others := ""
			if err := row.problems.others(); err != nil {
				others = err.Error()
			}
			if diff := cmp.Diff(row.first, row.problems.first(), cmp.AllowUnexported(secretProblem{})); diff != "" || others != row.others {
				t.Errorf("others %q, want %q; first (-want +got):\n%s", others, row.others, diff)
			}
		})
	}
}
