package rpctest

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// config holds the settings of a bitcoin.conf that the fake obeys.
type config struct {
	auth           authConfig
	threads        int
	workQueue      int
	connectTimeout time.Duration
	maxTipAge      time.Duration
	maxInbound     int
	addNode        []string
}

// bitcoind: net.h DEFAULT_MAX_PEER_CONNECTIONS, and the outbound ones of it.
const (
	defaultMaxConnections = 125
	automaticOutbound     = 11
)

// readConfig reads a bitcoin.conf for regtest. It skips settings that the fake does not model. A setting that makes
// bitcoind exit at start is an error.
func readConfig(text string, flavour Flavour) (*config, error) {
	values := settings(text)
	auth, err := readAuthConfig(values)
	if err != nil {
		return nil, err
	}
	c := &config{auth: auth, addNode: values["addnode"]}
	var numbers [5]int
	for i, n := range []struct {
		key      string
		fallback int
	}{
		{"rpcthreads", flavour.Threads},
		{"rpcworkqueue", flavour.WorkQueue},
		{"timeout", 5000},        // milliseconds
		{"maxtipage", 24 * 3600}, // seconds
		{"maxconnections", defaultMaxConnections},
	} {
		if numbers[i], err = number(values, n.key, n.fallback); err != nil {
			return nil, err
		}
	}
	c.threads, c.workQueue = max(numbers[0], 1), max(numbers[1], 1)
	c.connectTimeout = time.Duration(numbers[2]) * time.Millisecond
	c.maxTipAge = time.Duration(numbers[3]) * time.Second
	c.maxInbound = max(numbers[4]-automaticOutbound, 0)
	return c, nil
}

// settings collects the values of each key of the global and of the regtest section, in order. nokey=1 drops what came
// before, as bitcoind does.
func settings(text string) map[string][]string {
	values := map[string][]string{}
	section := ""
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || section != "" && section != "regtest" {
			continue
		}
		key, value = strings.TrimPrefix(strings.TrimSpace(key), "regtest."), strings.TrimSpace(value)
		if negated, isNo := strings.CutPrefix(key, "no"); isNo && value != "0" {
			delete(values, negated)
			continue
		}
		values[key] = append(values[key], value)
	}
	return values
}

// number returns the first value of a key; in a file the first one counts.
func number(values map[string][]string, key string, fallback int) (int, error) {
	if len(values[key]) == 0 {
		return fallback, nil
	}
	n, err := strconv.Atoi(values[key][0])
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", key, err)
	}
	return n, nil
}
