package mesh

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

const (
	// maxSeverBackoff bounds the time between two tries to end a connection across sides.
	maxSeverBackoff = 5 * time.Second
	// severPatience is how many looks at a connection across sides are left to the end that dialled it, which takes a second.
	severPatience = 2
	// addedDialTime is what bitcoind takes at most for each address that it dials of its list: net.cpp
	// ThreadOpenAddedConnections pauses for half a second, and our bitcoin.conf bounds the dial.
	addedDialTime = 500*time.Millisecond + dialTimeout
)

// Sides says on which side of a partition each node is: 2 bytes by ordinal. It is empty where a network is in one
// piece. A text can be compared, as all that a mesh depends on is.
type Sides string

// SidesOf are those that the network declares, and that hold at that time. Whoever is on none that is declared is on
// one more.
func SidesOf(n *api.Network, now time.Time) Sides {
	partition := n.Spec.Partition
	if partition == nil || partition.Until != nil && !now.Before(partition.Until.Time) {
		return ""
	}
	last := uint16(len(partition.Sides))
	sides := make([]uint16, max(n.Spec.Nodes, 0))
	for i := range sides {
		sides[i] = last
	}
	for i, side := range partition.Sides {
		for _, ordinal := range side.Nodes {
			if int(ordinal) < len(sides) {
				sides[ordinal] = uint16(i)
			}
		}
	}
	var text []byte
	for _, side := range sides {
		text = binary.BigEndian.AppendUint16(text, side)
	}
	return Sides(text)
}

// Of is the side of a node: 0 is the first that is declared.
func (s Sides) Of(ordinal int32) int {
	if len(s) < int(ordinal+1)*2 {
		return 0
	}
	return int(s[ordinal*2])<<8 | int(s[ordinal*2+1])
}

// Apart says whether two nodes are on different sides.
func (s Sides) Apart(a, b int32) bool { return s.Of(a) != s.Of(b) }

// Nodes are the ordinals of a side, ascending.
func (s Sides) Nodes(side int) (ordinals []int32) {
	for ordinal := range int32(len(s) / 2) {
		if s.Of(ordinal) == side {
			ordinals = append(ordinals, ordinal)
		}
	}
	return ordinals
}

// Count is the number of sides, up to the last that has nodes.
func (s Sides) Count() (count int) {
	for ordinal := range int32(len(s) / 2) {
		count = max(count, s.Of(ordinal)+1)
	}
	return count
}

// Split is the topology of a network in such sides.
func (t Topology) Split(sides Sides) Topology {
	t.sides = sides
	return t
}

// Sides are those of the topology.
func (t Topology) Sides() Sides { return t.sides }

// split leaves out the dials across sides. A side that is not connected by what remains gets a ring over its ordinals.
func split(dials [][]int32, sides Sides) [][]int32 {
	if sides == "" {
		return dials
	}
	for from := range dials {
		dials[from] = slices.DeleteFunc(dials[from], func(to int32) bool { return sides.Apart(int32(from), to) })
	}
	for number := range sides.Count() {
		side := sides.Nodes(number)
		if connected(dials, side) {
			continue
		}
		for i, list := range dialsNext(int32(len(side))) {
			for _, next := range list {
				from, to := side[i], side[next]
				if at, dialled := slices.BinarySearch(dials[from], to); !dialled && !slices.Contains(dials[to], from) {
					dials[from] = slices.Insert(dials[from], at, to)
				}
			}
		}
	}
	return dials
}

// connected says whether the nodes are one piece.
func connected(dials [][]int32, nodes []int32) bool {
	if len(nodes) == 0 {
		return true
	}
	neighbours := map[int32][]int32{}
	for _, from := range nodes {
		for _, to := range dials[from] {
			neighbours[from], neighbours[to] = append(neighbours[from], to), append(neighbours[to], from)
		}
	}
	reached := map[int32]bool{nodes[0]: true}
	for next := nodes[:1]; len(next) > 0; {
		var further []int32
		for _, from := range next {
			for _, to := range neighbours[from] {
				if !reached[to] {
					reached[to] = true
					further = append(further, to)
				}
			}
		}
		next = further
	}
	return len(reached) == len(nodes)
}

// Across is what a node has to do with nodes on other sides.
type Across struct {
	// Entries are in its list of added nodes. Connections are those that it has dialled, Inbound are the others, all as
	// bitcoind calls its peers. Foreign are the entries that are users' own.
	Entries, Connections, Inbound, Foreign []string
}

// None says whether it is nothing.
func (a Across) None() bool { return !a.own() && len(a.Inbound) == 0 }

// own says whether the node itself keeps up something of it.
func (a Across) own() bool { return len(a.Entries)+len(a.Connections) > 0 }

// Ending is how far a node is with that: how often it was told to, or looked at, and has something across still, and when
// it is to be the next time.
type Ending struct {
	Tries int
	Next  time.Time
}

// after is that of a report; tried says whether the exchange was a try.
func (e Ending) after(said Across, tried bool, ended time.Time) Ending {
	switch {
	case said.None():
		return Ending{}
	case tried:
		return Ending{e.Tries + 1, ended.Add(backoff(e.Tries+1, maxSeverBackoff))}
	case e.Tries == 0 && said.own():
		return Ending{0, ended}
	case e.Next.IsZero():
		return Ending{0, ended.Add(firstRetry)}
	}
	return e
}

// now is what of it is to be ended by the node. A connection is ended by the end that dialled it, and has let go of its
// entry: were the other end first, bitcoind would dial again. One that doesn't is not waited for for ever.
func (e Ending) now(a Across) Across {
	if e.Tries < severPatience {
		a.Inbound = nil
	}
	return a
}

// dialsOf is for how long bitcoind may dial entries that have just been taken off its list: a round that it has begun goes
// through all that were not connected then. listed is the list of before.
func dialsOf(listed []rpc.AddedNode) time.Duration {
	dials := 0
	for _, entry := range listed {
		if !entry.Connected {
			dials++
		}
	}
	if dials == 0 {
		return 0
	}
	return time.Duration(dials+1) * addedDialTime
}

// dialsAfter is until when the node may dial what is no longer on its list, after an exchange that may have taken entries
// off. One that failed may have, or not.
func (r Report) dialsAfter(before time.Time, did Across) time.Time {
	dials := r.Dials
	if r.Err != nil && len(did.Entries) > 0 {
		dials = time.Duration(len(did.Entries)+1) * addedDialTime
	}
	if until := r.EndedAt.Add(dials); dials > 0 && until.After(before) {
		return until
	}
	return before
}

// Apart says whether the node has nothing to do with those addresses, and won't have by itself.
func (v View) Apart(severed map[netip.Addr]struct{}) bool {
	return maps.Equal(v.Severed, severed) && v.Across.None() && !v.SaidAt.Before(v.DialsUntil)
}

// calls end it. An entry goes first, else the connection would be made again at once.
func (a Across) calls() []*rpc.Call {
	var calls []*rpc.Call
	for _, entry := range a.Entries {
		calls = append(calls, rpc.AddNodeCall(entry, rpc.Remove))
	}
	for _, connection := range slices.Concat(a.Connections, a.Inbound) {
		calls = append(calls, rpc.DisconnectNodeCall(connection))
	}
	return calls
}

// PeerAddress is the address of a peer, or of an entry, as bitcoind names it: with a port or without. False is for a host
// name.
func PeerAddress(peer string) (netip.Addr, bool) {
	ip, err := netip.ParseAddr(peer)
	if withPort, errPort := netip.ParseAddrPort(peer); errPort == nil {
		ip, err = withPort.Addr(), nil
	}
	return ip.Unmap(), err == nil
}

// acrossOf finds what of a list of added nodes, and of all peers, is with such addresses. An entry that is a host name
// tells its address while it is connected.
func acrossOf(severed map[netip.Addr]struct{}, added []rpc.AddedNode, peers []rpc.Peer) (a Across) {
	within := func(address string) bool {
		ip, ok := PeerAddress(address)
		_, found := severed[ip]
		return ok && found
	}
	for _, entry := range added {
		connected := slices.ContainsFunc(entry.Addresses, func(to rpc.AddedNodeAddress) bool { return within(to.Address) })
		if !connected && !within(entry.Address) {
			continue
		}
		a.Entries = append(a.Entries, entry.Address)
		if !isOurs(entry.Address) {
			a.Foreign = append(a.Foreign, entry.Address)
		}
		if connected {
			a.Connections = append(a.Connections, entry.Address)
		}
	}
	for _, peer := range peers {
		switch {
		case !within(peer.Address) || slices.Contains(a.Connections, peer.Address):
		case peer.Inbound:
			a.Inbound = append(a.Inbound, peer.Address)
		default:
			a.Connections = append(a.Connections, peer.Address)
		}
	}
	return a
}
