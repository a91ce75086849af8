//go:build e2e

package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// lightningNode is an LND of manifests/samples/lightning.yaml: a Deployment, by whose name it is.
type lightningNode struct{ namespace, name string }

// satoshis is a number that lncli prints as a string.
type satoshis int64

func (s *satoshis) UnmarshalText(text []byte) error {
	amount, err := strconv.ParseInt(string(text), 10, 64)
	*s = satoshis(amount)
	return err
}

// testSampleLightning: alice gets coins, opens a channel to bob and pays him. Then the bitcoind of both LNDs is replaced by
// one without chain or wallet, under their eyes: they follow it, and all of that works once more.
func testSampleLightning(t *testing.T, namespace string) {
	provisions(t)
	began := time.Now()
	applySample(t, namespace, "lightning.yaml")
	n := networkIn(namespace, "ln")
	alice, bob := lightningNode{namespace, "alice"}, lightningNode{namespace, "bob"}
	for _, l := range []lightningNode{alice, bob} {
		height := l.follows(t, 101)
		t.Logf("measured: %.0f s after apply: %s is synced at height %d", time.Since(began).Seconds(), l.name, height)
	}
	alice.funded(t, n)
	alice.opensChannel(t, bob, 1_000_000)
	alice.pays(t, bob, 250_000)

	restarts := alice.restarts(t) + bob.restarts(t)
	height := alice.follows(t, 101)
	n.replaceNode(t, 0)
	replaced := time.Now()
	for _, l := range []lightningNode{alice, bob} {
		now := l.follows(t, height+3)
		t.Logf("measured: %.1f s after its node was replaced at height %d: %s is synced at height %d",
			time.Since(replaced).Seconds(), height, l.name, now)
	}
	alice.opensChannel(t, bob, 2_000_000)
	alice.pays(t, bob, 1_500_000) // more than the first channel holds
	if now := alice.restarts(t) + bob.restarts(t); now != restarts {
		t.Errorf("the LNDs were restarted %d times, and %d before their node was replaced", now, restarts)
	}
	for _, l := range []lightningNode{alice, bob} {
		l.quote(t)
	}
	alice.forceClosesAcrossReorg(t, n, bob, 1_000_000)
}

// replaceNode deletes the pod of a node, and waits until there is another one and all of them are ready.
func (n network) replaceNode(t *testing.T, ordinal int) {
	t.Helper()
	before, err := n.Pod(t.Context(), ordinal)
	if err != nil {
		t.Fatal(err)
	}
	kube.Kubectl(t, "delete", "pod", "--namespace", n.Namespace, n.PodName(ordinal))
	kube.Eventually(t, n.PodName(ordinal)+" is replaced", func(ctx context.Context) error {
		pod, err := n.Pod(ctx, ordinal)
		if err == nil && pod.UID == before.UID {
			err = errors.New("it is the one before")
		}
		if err != nil {
			return err
		}
		return n.IsReady(ctx, 2)
	})
}

// cli is lncli, whose answer is decoded into the given value.
func (l lightningNode) cli(ctx context.Context, answer any, args ...string) error {
	out, err := kube.Run(ctx, "", append([]string{"exec", "--namespace", l.namespace, "deployment/" + l.name, "--",
		"lncli"}, args...)...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), answer); err != nil {
		return fmt.Errorf("lncli %s: %w in %s", args[0], err, out)
	}
	return nil
}

// follows waits until the node is synced, at that height at least, and returns the height.
func (l lightningNode) follows(t *testing.T, height int64) int64 {
	t.Helper()
	var info struct {
		SyncedToChain bool  `json:"synced_to_chain"`
		BlockHeight   int64 `json:"block_height"`
	}
	kube.Eventually(t, l.name+" is synced", func(ctx context.Context) error {
		err := l.cli(ctx, &info, "getinfo")
		if err == nil && (!info.SyncedToChain || info.BlockHeight < height) {
			err = fmt.Errorf("it isn't at height %d: %+v", height, info)
		}
		return err
	})
	return info.BlockHeight
}

// funded has the network pay one bitcoin to an address of the node, and waits until both say so.
func (l lightningNode) funded(t *testing.T, n network) {
	t.Helper()
	var created struct{ Address string }
	if err := l.cli(t.Context(), &created, "newaddress", "p2wkh"); err != nil {
		t.Fatal(err)
	}
	n.Patch(t, fmt.Sprintf(`spec: {mining: {funds: [{address: %s, amount: "1"}]}}`, created.Address))
	took := kube.Eventually(t, l.name+" has coins", func(ctx context.Context) error {
		var balance struct {
			Confirmed satoshis `json:"confirmed_balance"`
		}
		err := l.cli(ctx, &balance, "walletbalance")
		if err == nil && balance.Confirmed != 100_000_000 {
			err = fmt.Errorf("it has %+v", balance)
		}
		return err
	})
	t.Logf("measured: %s has its coins after %.0f s", l.name, took.Seconds())
	kube.Eventually(t, "the funds are paid", func(ctx context.Context) error {
		network, err := n.Read(ctx)
		if err == nil && !meta.IsStatusConditionTrue(network.Status.Conditions, api.ConditionFunded) {
			err = fmt.Errorf("they aren't: %+v", network.Status.Mining)
		}
		return err
	})
}

// opensChannel waits for a channel of that capacity in satoshis, which tells it from others. It is opened if there is none
// yet: LND refuses to for a moment after each block.
func (l lightningNode) opensChannel(t *testing.T, to lightningNode, capacity satoshis) {
	t.Helper()
	var peer struct {
		Key string `json:"identity_pubkey"`
	}
	if err := to.cli(t.Context(), &peer, "getinfo"); err != nil {
		t.Fatal(err)
	}
	took := kube.Eventually(t, "a channel", func(ctx context.Context) error {
		state, err := l.channel(ctx, capacity)
		if err != nil || state == "active" {
			return err
		}
		if state == "" {
			var opened any
			err = l.cli(ctx, &opened, "openchannel", "--node_key="+peer.Key, "--connect="+to.name+":9735",
				fmt.Sprintf("--local_amt=%d", capacity))
		}
		return errors.Join(fmt.Errorf("the channel is %q", state), err)
	})
	t.Logf("measured: a channel of %d satoshis is active after %.0f s", capacity, took.Seconds())
}

// channel is "active", "inactive", "pending", or "" where there is none of that capacity.
func (l lightningNode) channel(ctx context.Context, capacity satoshis) (string, error) {
	type channel struct {
		Capacity satoshis
		Active   bool
	}
	var open struct{ Channels []channel }
	var pending struct {
		Opening []struct{ Channel channel } `json:"pending_open_channels"`
	}
	// In this order: one that is confirmed in between is pending at the first.
	if err := l.cli(ctx, &pending, "pendingchannels"); err != nil {
		return "", err
	}
	for _, opening := range pending.Opening {
		if opening.Channel.Capacity == capacity {
			return "pending", nil
		}
	}
	if err := l.cli(ctx, &open, "listchannels"); err != nil {
		return "", err
	}
	for _, found := range open.Channels {
		if found.Capacity == capacity && found.Active {
			return "active", nil
		}
		if found.Capacity == capacity {
			return "inactive", nil
		}
	}
	return "", nil
}

// pays waits until an invoice is settled. An attempt without a route costs nothing, and none is paid twice.
func (l lightningNode) pays(t *testing.T, to lightningNode, amount int64) {
	t.Helper()
	var invoice struct {
		Hash    string `json:"r_hash"`
		Request string `json:"payment_request"`
	}
	if err := to.cli(t.Context(), &invoice, "addinvoice", fmt.Sprintf("--amt=%d", amount)); err != nil {
		t.Fatal(err)
	}
	took := kube.Eventually(t, "the invoice is settled", func(ctx context.Context) error {
		var found struct {
			State string
			Paid  satoshis `json:"amt_paid_sat"`
		}
		if err := to.cli(ctx, &found, "lookupinvoice", invoice.Hash); err != nil {
			return err
		}
		if found.State == "SETTLED" && found.Paid == satoshis(amount) {
			return nil
		}
		var paid any
		err := l.cli(ctx, &paid, "payinvoice", "--force", "--json", "--timeout=30s", invoice.Request)
		return errors.Join(fmt.Errorf("the invoice is %+v", found), err)
	})
	t.Logf("measured: %s has paid %d satoshis to %s after %.1f s", l.name, amount, to.name, took.Seconds())
}

// restarts is how often the container of the node was restarted.
func (l lightningNode) restarts(t *testing.T) int {
	t.Helper()
	text := kube.Kubectl(t, "get", "pods", "--namespace", l.namespace, "--selector=app="+l.name, "-o",
		"jsonpath={.items[0].status.containerStatuses[0].restartCount}")
	count, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return count
}

// quote logs what LND said of how it follows the chain, and of its channels.
func (l lightningNode) quote(t *testing.T) {
	t.Helper()
	log := kube.Kubectl(t, "logs", "--namespace", l.namespace, "deployment/"+l.name)
	quoted := 0
	for line := range strings.Lines(log) {
		for _, words := range []string{"notifications via ZMQ", "backend is fully synced", "New channel active"} {
			if strings.Contains(line, words) {
				t.Logf("%s: %s", l.name, strings.TrimSpace(line))
				quoted++
			}
		}
	}
	if quoted < 5 { // ZMQ of blocks and of transactions, the chain, two channels
		t.Errorf("%s says only %d of what it should", l.name, quoted)
	}
}
