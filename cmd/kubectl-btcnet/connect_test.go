package main

import (
	"strings"
	"testing"

	"k8s.io/client-go/tools/portforward"
)

func TestTheEnvironmentOfAnApplication(t *testing.T) {
	ports := []portforward.ForwardedPort{{Local: 4001, Remote: 18443}, {Local: 4002, Remote: 18444}, {Local: 4003,
		Remote: 28332}}
	for name, row := range map[string]struct{ format, user, password, want string }{
		"for a shell": {"env", "app", "p'w", `export BITCOIN_RPC_URL='http://app:p%27w@127.0.0.1:4001'
export BITCOIN_RPC_HOST='127.0.0.1'
export BITCOIN_RPC_PORT='4001'
export BITCOIN_RPC_USER='app'
export BITCOIN_RPC_PASSWORD='p'\''w'
export BITCOIN_P2P='127.0.0.1:4002'
export BITCOIN_ZMQ_RAWBLOCK='tcp://127.0.0.1:4003'
`},
		"without a user, as JSON": {"json", "", "", `{
  "BITCOIN_P2P": "127.0.0.1:4002",
  "BITCOIN_RPC_HOST": "127.0.0.1",
  "BITCOIN_RPC_PORT": "4001",
  "BITCOIN_RPC_URL": "http://127.0.0.1:4001",
  "BITCOIN_ZMQ_RAWBLOCK": "tcp://127.0.0.1:4003"
}
`},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if err := writeEnvironment(&out, row.format, environment(ports, row.user, row.password)); err != nil ||
				out.String() != row.want {
				t.Errorf("it is\n%s\n%v, want\n%s", out.String(), err, row.want)
			}
		})
	}
}
