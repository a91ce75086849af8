package rpctest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

func TestFaultsAsTheClientSeesThem(t *testing.T) {
	net := NewNetwork(nil)
	t.Cleanup(net.Close)
	for name, tc := range map[string]struct {
		fault Fault
		want  error
		calls int // carried out all the same
	}{
		"no fault is no error":                 {NoFault, nil, 1},
		"hanging is a timeout":                 {Hang, rpc.ErrTimeout, 0},
		"trickling is a timeout":               {Trickle, rpc.ErrTimeout, 0},
		"an endless body is too large":         {Endless, rpc.ErrTooLarge, 0},
		"a reset is an incomplete reply":       {Reset, rpc.ErrTruncated, 0},
		"a lost reply is an incomplete one":    {LoseReply, rpc.ErrTruncated, 1},
		"garbage is an incomplete reply":       {Garbage, rpc.ErrTruncated, 0},
		"a web page is not JSON":               {HTML, rpc.ErrNotJSON, 0},
		"wrong credentials are unauthorized":   {WrongCredentials, rpc.ErrUnauthorized, 0},
		"a refusal of all is forbidden":        {Forbidden, rpc.ErrForbidden, 0},
		"hanging up is an incomplete reply":    {HangUp, rpc.ErrTruncated, 0},
		"a body of 1 GiB is too large":         {Huge, rpc.ErrTooLarge, 0},
		"a node of another chain answers":      {OtherChain, nil, 1},
		"one that lies about peers answers":    {ClaimsConnected, nil, 1},
		"one that claims an entry answers":     {ClaimsEntry, nil, 1},
		"one that claims none answers":         {ClaimsNone, nil, 1},
		"a busy node is busy":                  {Busy, rpc.ErrBusy, 0},
		"a node no peer reaches answers calls": {Unroutable, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, net, "")
			n.SetFault(tc.fault)
			timeout := time.Minute
			if tc.want == rpc.ErrTimeout {
				timeout = 2 * time.Second // in which the call has to arrive, however busy the machine is
			}
			c := newClient(t, n, timeout)
			// The client must not repeat this call, so it is not an idempotent one.
			err := c.generateToAddress(t.Context(), 1, someAddress)
			if !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
			if got := n.Height(); got != int64(tc.calls) || n.Stats().RoundTrips != 1 {
				t.Errorf("height %d, stats %+v, want %d and one round trip", got, n.Stats(), tc.calls)
			}
			n.SetFault(NoFault)
			if _, err := newClient(t, n, time.Minute).getBlockCount(t.Context()); err != nil {
				t.Errorf("mended, it answers %v", err)
			}
		})
	}
}

func TestANodeThatHangsCanBeClosed(t *testing.T) {
	net := NewNetwork(nil)
	n := newNode(t, net, "")
	n.SetFault(Hang)
	c := newClient(t, n, time.Minute)
	done := make(chan error, 1)
	go func() { done <- c.addNode(context.WithoutCancel(t.Context()), nowhere, rpc.Add) }()
	eventually(t, "the request has arrived", func() bool { return n.Stats().RoundTrips == 1 })
	net.Close()
	if err := <-done; err == nil {
		t.Error("the call succeeded")
	}
}

func TestListsThatLie(t *testing.T) {
	net := NewNetwork(nil)
	t.Cleanup(net.Close)
	n := newNode(t, net, "")
	c := newClient(t, n, time.Minute)
	if err := c.addNode(t.Context(), nowhere, rpc.Add); err != nil {
		t.Fatal(err)
	}
	truth := []rpc.AddedNode{{Address: nowhere}}
	for name, row := range map[string]struct {
		fault Fault
		want  []rpc.AddedNode
	}{
		"the truth":            {NoFault, truth},
		"connected":            {ClaimsConnected, []rpc.AddedNode{{Address: nowhere, Connected: true}}},
		"an entry that isn't":  {ClaimsEntry, []rpc.AddedNode{{Address: nowhere}, {Address: ClaimedEntry}}},
		"no entry":             {ClaimsNone, []rpc.AddedNode{}},
		"nothing of the chain": {OtherChain, truth},
	} {
		t.Run(name, func(t *testing.T) {
			n.SetFault(row.fault)
			var added []rpc.AddedNode
			var chain rpc.BlockchainInfo
			calls := []*rpc.Call{rpc.GetAddedNodeInfoCall(&added), rpc.GetBlockchainInfoCall(&chain)}
			if err := c.Batch(t.Context(), calls...); err != nil || calls[0].Err != nil || calls[1].Err != nil {
				t.Fatal(err, calls[0].Err, calls[1].Err)
			}
			if diff := cmp.Diff(row.want, added, cmpopts.IgnoreFields(rpc.AddedNode{}, "Addresses")); diff != "" {
				t.Error(diff)
			}
			if other := chain.Chain != "regtest"; other != (row.fault == OtherChain) {
				t.Errorf("it is on chain %s", chain.Chain)
			}
			if got := n.Added(); len(got) != 1 || got[0] != nowhere {
				t.Errorf("its list is %v", got)
			}
		})
	}
}
