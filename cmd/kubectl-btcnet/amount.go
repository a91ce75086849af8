package main

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	// satoshis are those of a bitcoin.
	satoshis = 100_000_000
	// maxCoins is more than there will ever be.
	maxCoins = 21_000_000
)

// amount is an amount in satoshis.
type amount int64

// parseAmount reads an amount in BTC, such as 2.5.
func parseAmount(text string) (amount, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	coins, err := strconv.ParseUint(whole, 10, 32)
	if err != nil || coins > maxCoins || len(fraction) > 8 {
		return 0, fmt.Errorf("%q is no amount: it is in BTC, such as 2.5, with 8 decimals at most", text)
	}
	rest, err := strconv.ParseUint((fraction + "00000000")[:8], 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no amount: it is in BTC, such as 2.5, with 8 decimals at most", text)
	}
	return amount(coins*satoshis + rest), nil
}

func (a amount) String() string { return fmt.Sprintf("%d.%08d", a/satoshis, a%satoshis) }

// UnmarshalJSON reads what bitcoind prints.
func (a *amount) UnmarshalJSON(text []byte) (err error) {
	*a, err = parseAmount(string(text))
	return err
}

// MarshalJSON prints what bitcoind does.
func (a amount) MarshalJSON() ([]byte, error) { return []byte(a.String()), nil }
