package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

func TestTargets(t *testing.T) {
	n := &api.Network{Spec: api.NetworkSpec{Nodes: 3}}
	n.Name = "my-network"
	for argument, want := range map[string]struct {
		nodes []int32
		words string
	}{
		"my-network":     {nodes: []int32{0}},
		"my-network/2":   {nodes: []int32{2}},
		"my-network/all": {nodes: []int32{0, 1, 2}},
		"my-network/3":   {words: "its ordinals are 0 to 2"},
		"my-network/-1":  {words: "names no node"},
		"my-network/":    {words: "names no node"},
		"my-network/1/2": {words: "names no node"},
		"/1":             {words: "names no network"},
		"":               {words: "names no network"},
	} {
		at, err := parseTarget(argument)
		var nodes []int32
		if err == nil {
			nodes, err = at.nodes(n)
		}
		if diff := cmp.Diff(want.nodes, nodes); diff != "" || (err != nil) != (want.words != "") ||
			err != nil && !strings.Contains(err.Error(), want.words) {
			t.Errorf("%q: %v, %s", argument, err, diff)
		}
	}
}

func TestSidesOfArguments(t *testing.T) {
	for argument, want := range map[string][]api.Side{
		"0,1/2": {{Nodes: []int32{0, 1}}, {Nodes: []int32{2}}},
		"0":     {{Nodes: []int32{0}}},
		"0,/1":  nil,
		"0/":    nil,
		"a/1":   nil,
		"-1/2":  nil,
		"":      nil,
	} {
		partition, err := parseSides(argument)
		if (err != nil) != (want == nil) {
			t.Errorf("%q: %v", argument, err)
		}
		if err == nil {
			if diff := cmp.Diff(want, partition.Sides); diff != "" {
				t.Errorf("%q: %s", argument, diff)
			}
		}
	}
}

func TestAnswersAreInTheOrderOfNodes(t *testing.T) {
	var ordinals []int32
	for i := range int32(3 * maxTogether) {
		ordinals = append(ordinals, i)
	}
	answers, err := onEach(t.Context(), ordinals, func(_ context.Context, ordinal int32) (int32, error) { return ordinal, nil })
	if diff := cmp.Diff(ordinals, answers); err != nil || diff != "" {
		t.Errorf("%v, %s", err, diff)
	}
	first, last := errors.New("first"), errors.New("last")
	answers, err = onEach(t.Context(), []int32{0, 1, 2}, func(_ context.Context, ordinal int32) (int32, error) {
		return ordinal, map[int32]error{0: first, 2: last}[ordinal]
	})
	if !errors.Is(err, first) || !errors.Is(err, last) || answers[1] != 1 {
		t.Errorf("%v, %v", answers, err)
	}
}

func TestWordsOfBitcoind(t *testing.T) {
	for printed, want := range map[string]string{
		"error code: -5\nerror message:\nError: Invalid address\n": "Error: Invalid address (error code: -5)",
		"error code: -1\nerror message:\nfirst\n\nsecond":          "first second (error code: -1)",
		"error: timeout on transient error: could not connect\n":   "error: timeout on transient error: could not connect",
		"": "",
	} {
		if got := bitcoindWords(printed); got != want {
			t.Errorf("%q: %q, want %q", printed, got, want)
		}
	}
}

func TestBlocksThatWereMeant(t *testing.T) {
	failed := errors.New("failed")
	if got := withBlocksMeant(failed, "default"); got != failed {
		t.Errorf("of a namespace: %v", got)
	}
	if got := withBlocksMeant(failed, "6"); !errors.Is(got, failed) || !strings.Contains(got.Error(), "--blocks 6") {
		t.Errorf("of a number: %v", got)
	}
}

func TestExitCodes(t *testing.T) {
	for err, want := range map[error]int{
		errors.New("failed"): exitFailed,
		context.Canceled:     exitFailed,
		fmt.Errorf("%w after 1s: height", errTimeout):  exitTimeout,
		errors.Join(errors.New("failed"), errTimeout):  exitTimeout,
		fmt.Errorf("reorg: %w", errors.New("timeout")): exitFailed,
	} {
		if got := exitCode(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}
