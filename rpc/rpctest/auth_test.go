package rpctest

import (
	"net/http"
	"testing"
)

func TestPasswordHash(t *testing.T) {
	// RFC 4231, test case 2.
	const want = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
	if got := passwordHash("what do ya want for nothing?", "Jefe"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAuthConfig(t *testing.T) {
	auth := func(user string) string { return "rpcauth=" + RPCAuth(user, testPassword, "ab") + "\n" }
	for name, tc := range map[string]struct {
		conf           string
		user, password string
		known          bool
		allowed        map[string]bool
	}{
		"an rpcauth line lets its user in": {auth("a"), "a", testPassword, true, map[string]bool{"stop": true}},
		"without a line no user gets in":   {"", "a", testPassword, false, nil},
		"another password is refused":      {auth("a"), "a", "x", false, nil},
		"another user is refused":          {auth("a"), "b", testPassword, false, nil},
		"one of several lines for a user is enough": {
			"rpcauth=" + RPCAuth("a", "old", "cd") + "\n" + auth("a"), "a", testPassword, true, nil,
		},
		"rpcuser and rpcpassword let their user in": {
			"rpcuser=a\nrpcpassword=" + testPassword, "a", testPassword, true, nil,
		},
		"a line of the regtest section counts":     {"[regtest]\n" + auth("a"), "a", testPassword, true, nil},
		"a line of another section does not count": {"[test]\n" + auth("a"), "a", testPassword, false, nil},
		"a negation undoes the lines before it":    {auth("a") + "norpcauth=1", "a", testPassword, false, nil},
		"a comment is no line":                     {"#" + auth("a"), "a", testPassword, false, nil},
		"a whitelist limits its user": {
			auth("a") + "rpcwhitelist=a:getpeerinfo, stop", "a", testPassword, true,
			map[string]bool{"getpeerinfo": true, "stop": true, "addnode": false},
		},
		"two whitelists of a user intersect": {
			auth("a") + "rpcwhitelist=a:x,y\nrpcwhitelist=a:y,z", "a", testPassword, true,
			map[string]bool{"x": false, "y": true, "z": false},
		},
		"a whitelist leaves other users nothing": {
			auth("a") + "rpcwhitelist=b:x", "a", testPassword, true, map[string]bool{"x": false},
		},
		"rpcwhitelistdefault=0 leaves others everything": {
			auth("a") + "rpcwhitelist=b:x\nrpcwhitelistdefault=0", "a", testPassword, true, map[string]bool{"x": true},
		},
		"the default alone leaves nothing either": {
			auth("a") + "rpcwhitelistdefault=1", "a", testPassword, true, map[string]bool{"x": false},
		},
	} {
		t.Run(name, func(t *testing.T) {
			conf, err := readConfig(tc.conf, Core31)
			if err != nil {
				t.Fatal(err)
			}
			r := &http.Request{Header: http.Header{}}
			r.SetBasicAuth(tc.user, tc.password)
			if _, known := conf.auth.user(r); known != tc.known {
				t.Errorf("let in: %t, want %t", known, tc.known)
			}
			for method, want := range tc.allowed {
				if got := conf.auth.allows(tc.user, method); got != want {
					t.Errorf("%s allowed: %t, want %t", method, got, want)
				}
			}
		})
	}
}
