package main

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestCredentialsAreRedacted(t *testing.T) {
	for name, row := range map[string]struct{ text, want string }{
		"a line of bitcoin.conf": {
			"server=1\nrpcauth=app:salt$hash\nlisten=1\n", "server=1\nrpcauth=REDACTED\nlisten=1\n",
		},
		"a password with spaces": {"rpcpassword=a b c\nx", "rpcpassword=REDACTED\nx"},
		"a field of a status":    {`  rpcauth: me:salt$hash`, `  rpcauth: REDACTED`},
		"within a JSON string": {`{"bitcoin.conf": "regtest=1\nrpcauth=a:b$c\nlisten=1"}`,
			`{"bitcoin.conf": "regtest=1\nrpcauth=REDACTED\nlisten=1"}`},
		"a field of JSON": {`{"rpcpassword": "pw", "port": 1}`, `{"rpcpassword": "REDACTED", "port": 1}`},
		"an argument":     {`- -rpcpassword=pw`, `- -rpcpassword=REDACTED`},
		"a URL":           {"url http://app:pw@host:18443/", "url http://REDACTED@host:18443/"},
		"what is none": {"rpcwhitelist=app:getblock\nhttp://host:1/a@b\n",
			"rpcwhitelist=app:getblock\nhttp://host:1/a@b\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := redact(row.text); got != row.want {
				t.Errorf("it is %q, want %q", got, row.want)
			}
		})
	}
}

func TestObjectsAreRedacted(t *testing.T) {
	var object map[string]any
	if err := yaml.Unmarshal([]byte(`
metadata:
  annotations: {kubectl.kubernetes.io/last-applied-configuration: canary, kept: this}
  managedFields: [{manager: canary}]
spec:
  containers:
  - name: bitcoind
    env: [{name: MY_PASSWORD, value: canary}, {name: HOME, value: /data}, {name: RPC_TOKEN, value: canary}]
`), &object); err != nil {
		t.Fatal(err)
	}
	redactObject(object)
	text, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(text); strings.Contains(got, "canary") || !strings.Contains(got, "/data") || !strings.Contains(got,
		"kept: this") {
		t.Errorf("it is\n%s", got)
	}
}
