package children

import "testing"

func TestPodOrdinal(t *testing.T) {
	for name, want := range map[string]int32{
		"my-network-sts-0":           0,
		"my-network-sts-12":          12,
		"my-network-sts-012":         -1,
		"my-network-sts--1":          -1,
		"my-network-sts-":            -1,
		"my-network-sts-1-2":         -1,
		"other-network-sts-1":        -1,
		"my-network-sts-+1":          -1,
		"my-network-sts-1e3":         -1,
		"my-network-sts-99999999999": -1,
	} {
		got, ok := PodOrdinal(network(3), name)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("podOrdinal(%q) = %d, want %d (-1: no pod of the network)", name, got, want)
		}
	}
}
