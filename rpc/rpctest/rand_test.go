package rpctest

import (
	"math/rand/v2"
	"testing"
)

// newRand is seeded anew each time, and says with what.
func newRand(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
