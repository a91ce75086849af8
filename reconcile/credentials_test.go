package reconcile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/types"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// What is derived must never change: nodes would refuse the controller, and applications be refused. These were computed
// by Python's hmac, the lines as by bitcoind's share/rpcauth/rpcauth.py.
func TestCredentialsStayWhatTheyWere(t *testing.T) {
	const uid = "5f6c7a1e-0000-4000-8000-000000000001"
	for name, row := range map[string]struct {
		got            credentials
		password, line string
	}{
		"the controller's": {
			got:      testKey.credentials(rpcUser, uid, 1),
			password: "8a054def409e72e786184e9cd80a5fa0502c30af2fd41cd59bab19867a9049ea",
			line:     "bitcoin-controller:c0f18fcde6f3a641c25b990bf9d14125$227ed0615bdf0fb94d538db4c50957828376fbb954d549cfb31d00eb5040ebdf",
		},
		"applications'": {
			got:      testKey.credentials(applicationUser, uid, 1),
			password: "2b320a762502162a5e4e0ed46af600cf9183d087bfcb68fb483e8f5c549dc218",
			line:     "application:ec72da41d4a287e62a3ae5d7d909b0c1$36b4e3089ff69aa542eff745510e670da01ef6b5d1b55af7f9dd163d357dee47",
		},
		"applications' of the next generation": {
			got:      testKey.credentials(applicationUser, uid, 2),
			password: "f25b163610779783b872745022dcd797388bbbf9264a2130682b7ccc6da557fd",
			line:     "application:be2d1dac8f0480c4e92632a6cd1ca743$9fd01c6d77950216d124578de0b9dd801241bfb94f1f213fe94f0d48ca65bc16",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if row.got.password != row.password || row.got.rpcauth() != row.line {
				t.Errorf("the password is %s, the line %s; want %s and %s", row.got.password, row.got.rpcauth(), row.password, row.line)
			}
		})
	}
	if got, want := testKey.fingerprint(), "e4928179ceba4bb1"; got != want {
		t.Errorf("the fingerprint is %s, want %s", got, want)
	}
}

func TestNoTwoPurposesHaveTheSameSecret(t *testing.T) {
	seen := map[string]string{}
	add := func(what, value string) {
		if other, there := seen[value]; there {
			t.Errorf("%s is the same as %s", what, other)
		}
		seen[value] = what
	}
	for _, key := range []masterKey{testKey, append(masterKey{1}, testKey[1:]...), append(testKey[:32:32], 0xff)} {
		add("a fingerprint", key.fingerprint())
		for _, user := range []string{rpcUser, applicationUser} {
			for _, network := range []string{"a", "b", "a1"} {
				for _, generation := range []int64{1, 2, 11} {
					c := key.credentials(user, types.UID(network), generation)
					add(fmt.Sprintf("the password of %s, %s, %d", user, network, generation), c.password)
					add(fmt.Sprintf("the salt of %s, %s, %d", user, network, generation), c.salt)
				}
			}
		}
	}
	if testKey.derive("a", "bc") == testKey.derive("ab", "c") || testKey.derive("a") == testKey.derive("a", "") {
		t.Error("where a part begins makes no difference")
	}
}

func TestSecretsAreNotFormatted(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	c := testKey.credentials(rpcUser, "a", 1)
	zap.New(core).Info("x", zap.Any("key", testKey), zap.Any("credentials", c))
	text := fmt.Sprintf("%v %+v %#v %s %v %+v %#v %v", testKey, testKey, testKey, testKey, c, c, c, logs.All()[0].ContextMap()["credentials"])
	if strings.Contains(text, c.password) || strings.Contains(text, string(testKey)) || strings.Contains(text, "0 1 2 3") || strings.Contains(text, "0x1, 0x2") {
		t.Errorf("a secret is in %s", text)
	}
}

func TestConfigurationHoldsNoPassword(t *testing.T) {
	n := network(3)
	conf := bitcoinConf(n, testKey.access(n, generations{1, 2}, "own:salt$hash", 1))
	var users []string
	for line := range strings.Lines(conf) {
		if value, found := strings.CutPrefix(line, "rpcauth="); found {
			user, _, _ := strings.Cut(value, ":")
			users = append(users, user)
		}
		if strings.HasPrefix(line, "rpcwhitelist=") && !strings.HasPrefix(line, "rpcwhitelist="+rpcUser+":") {
			t.Errorf("somebody else is restricted: %s", line)
		}
	}
	if diff := cmp.Diff([]string{rpcUser, rpcUser, applicationUser, applicationUser, "own"}, users); diff != "" {
		t.Errorf("the users (-want +got):\n%s", diff)
	}
	if lines := strings.Count(conf, "rpcwhitelist="); lines != 1 {
		t.Errorf("%d rpcwhitelist lines: bitcoind intersects them", lines)
	}
	for _, user := range []string{rpcUser, applicationUser} {
		for generation := range int64(3) {
			if strings.Contains(conf, testKey.credentials(user, n.UID, generation).password) {
				t.Errorf("the password of %s is in bitcoin.conf", user)
			}
		}
	}
}

func TestTheSecretOfApplications(t *testing.T) {
	n := network(3)
	goldenIntent(t, "", child{secrets, rpcSecret(n, credentials{user: applicationUser, password: "hush"})})
	got := map[string]string{}
	for key, value := range rpcSecret(n, credentials{user: applicationUser, password: "hush"}).Data {
		got[key] = string(value)
	}
	const host = "my-network-sts-0.my-network-svc.default.svc"
	want := map[string]string{"username": "application", "password": "hush", "host": host, "port": "18443", "url": "http://application:hush@" + host + ":18443"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAnOwnUserIsKeptOnlyIfTheControllerPutItThere(t *testing.T) {
	n := network(3)
	n.Spec.Secret = "own"
	another, renamed := network(3), network(3)
	another.UID, another.Spec.Secret = "other", "own"
	renamed.Spec.Secret = "another"
	const line = "own:salt$hash"
	with := func(n *api.Network, line string) access { return testKey.access(n, generations{1}, line, 1) }
	for name, row := range map[string]struct {
		config, set access
		want        string
	}{
		"as it was written":         {with(n, line), with(n, line), line},
		"without a user":            {with(n, ""), with(n, ""), ""},
		"another line in its place": {with(n, "own:salt$other"), with(n, line), ""},
		"one that was taken away":   {with(n, line), with(n, ""), ""},
		"that of another network":   {with(another, line), with(another, line), ""},
		"that of another Secret":    {with(renamed, line), with(renamed, line), ""},
	} {
		t.Run(name, func(t *testing.T) {
			config, set := configMap(n, row.config), statefulSet(n, "image", 0, row.set)
			if got := testKey.keptLine(n, config, set); got != row.want {
				t.Errorf("%q is kept, want %q", got, row.want)
			}
			if testKey.keptLine(n, nil, set)+testKey.keptLine(n, config, nil) != "" {
				t.Error("something is kept by one object alone")
			}
		})
	}
}
