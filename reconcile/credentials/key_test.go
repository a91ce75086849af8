package credentials

import (
	"fmt"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/types"
)

// testKey is of the bytes 0 to 31.
var testKey = func() (key Key) {
	for i := range KeyBytes {
		key = append(key, byte(i))
	}
	return key
}()

// What is derived must never change: nodes would refuse the controller, and applications be refused. These were
// computed by Python's hmac, the lines as by bitcoind's share/rpcauth/rpcauth.py.
func TestCredentialsStayWhatTheyWere(t *testing.T) {
	const uid = "5f6c7a1e-0000-4000-8000-000000000001"
	for name, row := range map[string]struct {
		user           string
		generation     int64
		password, line string
	}{
		"the controller's": {
			user: ControllerUser, generation: 1,
			password: "8a054def409e72e786184e9cd80a5fa0502c30af2fd41cd59bab19867a9049ea",
			line: "bitcoin-controller:c0f18fcde6f3a641c25b990bf9d14125$" +
				"227ed0615bdf0fb94d538db4c50957828376fbb954d549cfb31d00eb5040ebdf",
		},
		"applications'": {
			user: ApplicationUser, generation: 1,
			password: "2b320a762502162a5e4e0ed46af600cf9183d087bfcb68fb483e8f5c549dc218",
			line: "application:ec72da41d4a287e62a3ae5d7d909b0c1$" +
				"36b4e3089ff69aa542eff745510e670da01ef6b5d1b55af7f9dd163d357dee47",
		},
		"applications' of the next generation": {
			user: ApplicationUser, generation: 2,
			password: "f25b163610779783b872745022dcd797388bbbf9264a2130682b7ccc6da557fd",
			line: "application:be2d1dac8f0480c4e92632a6cd1ca743$" +
				"9fd01c6d77950216d124578de0b9dd801241bfb94f1f213fe94f0d48ca65bc16",
		},
	} {
		t.Run(name, func(t *testing.T) {
			password := testKey.Login(row.user, uid, row.generation).Password
			line := testKey.rpcauth(row.user, uid, row.generation)
			if password != row.password || line != row.line {
				t.Errorf("the password is %s, the line %s; want %s and %s", password, line, row.password, row.line)
			}
		})
	}
	if got, want := testKey.Fingerprint(), "e4928179ceba4bb1"; got != want {
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
	for _, key := range []Key{testKey, append(Key{1}, testKey[1:]...), append(testKey[:32:32], 0xff)} {
		add("a fingerprint", key.Fingerprint())
		for _, user := range []string{ControllerUser, ApplicationUser} {
			for _, network := range []string{"a", "b", "a1"} {
				for _, generation := range []int64{1, 2, 11} {
					login, line := key.Login(user, types.UID(network), generation), key.rpcauth(user,
						types.UID(network), generation)
					salt, _, _ := strings.Cut(strings.TrimPrefix(line, user+":"), "$")
					add(fmt.Sprintf("the password of %s, %s, %d", user, network, generation), login.Password)
					add(fmt.Sprintf("the salt of %s, %s, %d", user, network, generation), salt)
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
	login := testKey.Login(ControllerUser, "a", 1)
	zap.New(core).Info("x", zap.Any("key", testKey), zap.Any("login", login))
	text := fmt.Sprintf("%v %+v %#v %s", testKey, testKey, testKey, testKey) +
		fmt.Sprintf("%v %+v %#v", login, login, login) + fmt.Sprint(logs.All()[0].ContextMap())
	for _, secret := range []string{login.Password, string(testKey), "0 1 2 3", "0x1, 0x2"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in %s", secret, text)
		}
	}
}
