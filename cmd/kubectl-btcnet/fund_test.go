package main

import (
	"strings"
	"testing"
)

func TestAmounts(t *testing.T) {
	for text, want := range map[string]amount{
		"0": 0, "1": satoshis, "2.5": 250_000_000, "0.00000001": 1, "50.00000000": 50 * satoshis, "21000000": maxCoins * satoshis,
		"-1": -1, "1,5": -1, "": -1, "1.": satoshis, ".5": -1, "0.000000001": -1, "1e3": -1, "21000001": -1, "1.-5": -1, "+1": -1,
	} {
		got, err := parseAmount(text)
		if (err != nil) != (want == -1) || err == nil && got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for of, want := range map[amount]string{0: "0.00000000", 1: "0.00000001", 250_000_000: "2.50000000"} {
		if of.String() != want {
			t.Errorf("%d is %s, want %s", of, of, want)
		}
	}
}

func TestSubsidies(t *testing.T) {
	for height, want := range map[int64]amount{
		1: 50 * satoshis, 149: 50 * satoshis, 150: 25 * satoshis, 300: 1_250_000_000, 4949: 1, 4950: 0, 1_000_000: 0,
	} {
		if got := subsidyOf(height); got != want {
			t.Errorf("height %d: %s, want %s", height, got, want)
		}
	}
}

func TestBlocksThatEarn(t *testing.T) {
	for name, row := range map[string]struct {
		height  int64
		lacking amount
		want    int64
		words   string
	}{
		"a block pays":                           {0, satoshis, 1, ""},
		"just one block pays":                    {0, 50 * satoshis, 1, ""},
		"a block is not enough":                  {0, 50*satoshis + 1, 2, ""},
		"the reward halves meanwhile":            {148, 100 * satoshis, 3, ""},
		"the rewards that are left don't do":     {0, 20_000 * satoshis, 0, "from height 1 on pay 14949.99"},
		"there is no reward any more":            {4949, 1, 0, "from height 4950 on pay 0.00000000 BTC"},
		"the last rewards are a satoshi a block": {4900, 49, 49, ""},
	} {
		got, err := blocksToEarn(row.height, row.lacking)
		if got != row.want || (err != nil) != (row.words != "") || err != nil && !strings.Contains(err.Error(), row.words) {
			t.Errorf("%s: %d blocks, %v", name, got, err)
		}
	}
}
