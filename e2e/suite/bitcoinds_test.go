//go:build e2e

package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
)

// cli runs bitcoin-cli in the pod of a node, without any flag, and returns what it prints.
func (n network) cli(ctx context.Context, ordinal int, args ...string) (string, error) {
	exec := []string{"exec", "--namespace", n.Namespace, n.PodName(ordinal), "--", "bitcoin-cli"}
	return kube.Run(ctx, "", append(exec, args...)...)
}

// added is the list of added nodes that a bitcoind has: the addresses, and whether they are connected.
func (n network) added(ctx context.Context, ordinal int) (map[string]bool, error) {
	out, err := n.cli(ctx, ordinal, "getaddednodeinfo")
	if err != nil {
		return nil, err
	}
	var list []struct {
		AddedNode string
		Connected bool
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("getaddednodeinfo of %s: %w: %s", n.PodName(ordinal), err, out)
	}
	added := map[string]bool{}
	for _, entry := range list {
		added[entry.AddedNode] = entry.Connected
	}
	return added, nil
}

// mine has a node mine blocks, which are not those of any other node: of the same script, mined in the same second on
// the same tip, they would be.
func (n network) mine(t *testing.T, ordinal, blocks int) {
	t.Helper()
	if _, err := n.cli(t.Context(), ordinal, "generatetodescriptor", fmt.Sprint(blocks),
		fmt.Sprintf("raw(%d)", 51+ordinal)); err != nil {
		t.Fatal(err)
	}
}

// hasHeight is nil if the node's chain has that height.
func (n network) hasHeight(ctx context.Context, ordinal, height int) error {
	out, err := n.cli(ctx, ordinal, "getblockcount")
	if err != nil {
		return err
	}
	if out != fmt.Sprint(height) {
		return fmt.Errorf("%s has %s blocks, want %d", n.PodName(ordinal), out, height)
	}
	return nil
}

// all is nil if check is, for every ordinal below nodes. It asks several at a time, as kubectl takes its time.
func all(nodes int, check func(ordinal int) error) error {
	var group errgroup.Group
	group.SetLimit(4)
	for ordinal := range nodes {
		group.Go(func() error { return check(ordinal) })
	}
	return group.Wait()
}

// kill ends the bitcoind of a node by SIGKILL. It is not process 1, which would ignore the signal.
func (n network) kill(t *testing.T, ordinal int) {
	t.Helper()
	n.atBitcoind(t, ordinal, `kill -9 "${process#/proc/}"`)
}

// atBitcoind runs a shell script in the pod of a node, with bitcoind's /proc/PID in $process: the processes of a pod
// see each other.
func (n network) atBitcoind(t *testing.T, ordinal int, script string) {
	t.Helper()
	out, err := kube.Run(t.Context(), "", "exec", "--namespace", n.Namespace, n.PodName(ordinal), "--", "sh", "-c", `
for process in /proc/[0-9]*; do
  read -r command <"$process/comm" && [ "$command" = bitcoind ] || continue
  echo found
  `+script+`
done`)
	// The shell may go with the container if it killed it: that is no error of its own.
	if out = strings.TrimSpace(out); out != "found" {
		t.Fatalf("look for the bitcoind of %s: %q, %v", n.PodName(ordinal), out, err)
	}
}

// incarnation is one run of a bitcoind: the next one knows nothing of the peers of the one before.
type incarnation struct {
	pod      types.UID
	restarts int32
}

func (n network) incarnation(ctx context.Context, ordinal int) (incarnation, error) {
	pod, err := n.Pod(ctx, ordinal)
	if err != nil {
		return incarnation{}, err
	}
	if len(pod.Status.ContainerStatuses) == 0 {
		return incarnation{}, errors.New(pod.Name + " has no container yet")
	}
	return incarnation{pod.UID, pod.Status.ContainerStatuses[0].RestartCount}, nil
}

func (n network) incarnations(t *testing.T, nodes int) []incarnation {
	t.Helper()
	found := make([]incarnation, nodes)
	if err := all(nodes, func(i int) (err error) {
		found[i], err = n.incarnation(t.Context(), i)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return found
}

// ordinals tells the nodes' ordinals by their addresses.
func (n network) ordinals(ctx context.Context, nodes int) (map[string]int, error) {
	ordinals := map[string]int{}
	for i := range nodes {
		pod, err := n.Pod(ctx, i)
		if err != nil {
			return nil, err
		}
		ordinals[pod.Status.PodIP] = i
	}
	if len(ordinals) != nodes {
		return nil, fmt.Errorf("%d nodes have the addresses %v", nodes, ordinals)
	}
	return ordinals, nil
}

// view is what a bitcoind says of its peers: the ordinals, each once and in order.
type view struct {
	listed             []int // by addnode
	dialled, dialledBy []int // connected now
}

// silence is more than a peer that is there ever takes to say something: bitcoind pings each every 2 minutes.
const silence = 150 * time.Second

// view fails if the bitcoind knows an address that is none of the nodes', unless that is whom it was dialled by and has
// heard nothing of since: the end of a connection may be lost with the pod that made it, and bitcoind keeps its own end
// for 20 minutes.
func (n network) view(ctx context.Context, ordinal int, ordinals map[string]int) (view, error) {
	// One exec for both questions: with many nodes, kubectl is most of the work.
	out, err := kube.Run(ctx, "", "exec", "--namespace", n.Namespace, n.PodName(ordinal), "--", "sh", "-c",
		"bitcoin-cli getaddednodeinfo && bitcoin-cli getpeerinfo")
	if err != nil {
		return view{}, err
	}
	var added []struct{ AddedNode string }
	var peers []struct {
		Addr           string
		ConnectionType string `json:"connection_type"`
		// Unix seconds.
		ConnTime, LastRecv int64
	}
	decoder := json.NewDecoder(strings.NewReader(out))
	if err := errors.Join(decoder.Decode(&added), decoder.Decode(&peers)); err != nil {
		return view{}, fmt.Errorf("peers of %s: %w: %s", n.PodName(ordinal), err, out)
	}
	var seen view
	note := func(to *[]int, address string) {
		peer, known := ordinals[bare(address)]
		if !known {
			err = errors.Join(err, fmt.Errorf("%s knows %s, which is no node's", n.PodName(ordinal), address))
		}
		*to = append(*to, peer)
	}
	for _, entry := range added {
		note(&seen.listed, entry.AddedNode)
	}
	for _, peer := range peers {
		if peer.ConnectionType == "inbound" {
			heard := time.Unix(max(peer.ConnTime, peer.LastRecv), 0)
			if _, known := ordinals[bare(peer.Addr)]; !known && time.Since(heard) > silence {
				continue
			}
			note(&seen.dialledBy, peer.Addr)
		} else {
			note(&seen.dialled, peer.Addr)
		}
	}
	seen.listed, seen.dialled, seen.dialledBy = distinct(seen.listed), distinct(seen.dialled), distinct(seen.dialledBy)
	return seen, err
}

// bare is the address without its port.
func bare(address string) string {
	if port, err := netip.ParseAddrPort(address); err == nil {
		return port.Addr().String()
	}
	return address
}

func distinct(ordinals []int) []int {
	slices.Sort(ordinals)
	return slices.Compact(ordinals)
}
