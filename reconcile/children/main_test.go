package children

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/bitcoin-controller/bitcoin-controller/internal/testworld"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// network is my-network with that many nodes.
func network(nodes int32) *api.Network { return testworld.Network(nodes) }
