package rpctest

import (
	"math/rand/v2"
	"testing"
)

// newRand has a new seed in each run, and logs it.
func newRand(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
