package mesh

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

const (
	// maxChanges bounds how long a batch can take: so many dials, and as many removals.
	maxChanges = 16
	// maxHashes bounds how long a reply gets: a hash takes some 100 bytes.
	maxHashes = 256
)

// Action is the next exchange with a node: changes, then always the query what they led to. The zero Action is none.
type Action struct {
	Query bool
	// Hashes are the heights to ask the block hash of.
	Hashes []int64
	// Measure: the node is asked for its Measures, too.
	Measure bool
	// Mine: the node mines before it tells what it has.
	Mine Blocks
	Changes
	// Severed are addresses with which the node is to have nothing to do: it is asked for its peers, too.
	Severed map[netip.Addr]struct{}
	// severs: the node is to end what it has to do with them, or whether the others have is looked at.
	severs bool
	// poll: nothing is wanted of the node.
	poll bool
}

// Changes are what a node's added-node list lacks and has too much. All addresses are bare IPs, as bitcoind finds an
// address only in the form in which it was added.
type Changes struct {
	// Dial: to be tried at once and added.
	Dial []netip.Addr
	// Redial: in the list already, but not connected, and both ends ready.
	Redial []netip.Addr
	// Remove: no longer the address of a neighbour.
	Remove []netip.Addr
	// Cut: to be disconnected, though wanted.
	Cut []netip.Addr
	// Sever is what the node has to do with nodes on other sides of a partition.
	Sever Across
}

func (c Changes) none() bool {
	return len(c.Dial)+len(c.Redial)+len(c.Remove)+len(c.Cut) == 0 && c.Sever.None()
}

// moves are the changes by address.
func (c Changes) moves() map[netip.Addr]move {
	moves := make(map[netip.Addr]move, len(c.Dial)+len(c.Redial)+len(c.Remove))
	for made, addresses := range map[move][]netip.Addr{dial: c.Dial, redial: c.Redial, remove: c.Remove,
		cut: c.Cut} {
		for _, ip := range addresses {
			moves[ip] = made
		}
	}
	return moves
}

// first are as many of the changes as fit into one batch.
func (c Changes) first() Changes {
	redials := min(len(c.Redial), maxChanges)
	return Changes{
		Remove: c.Remove[:min(len(c.Remove), maxChanges)],
		Redial: c.Redial[:redials],
		Dial:   c.Dial[:min(len(c.Dial), maxChanges-redials)],
	}
}

// calls is the batch that makes the changes. A dial is `onetry` before `add`: onetry connects within the call, while
// the thread behind add may sleep for a minute first; and what is removed from the list stays connected until it is
// disconnected. bitcoind: net.cpp ThreadOpenAddedConnections.
func (c Changes) calls() []*rpc.Call {
	var calls []*rpc.Call
	for _, ip := range c.Remove {
		calls = append(calls, rpc.AddNodeCall(ip.String(), rpc.Remove), rpc.DisconnectNodeCall(ip.String()))
	}
	for _, ip := range c.Cut {
		calls = append(calls, rpc.DisconnectNodeCall(ip.String()))
	}
	calls = append(calls, c.Sever.calls()...)
	for _, ip := range c.Redial {
		calls = append(calls, rpc.AddNodeCall(ip.String(), rpc.OneTry))
	}
	for _, ip := range c.Dial {
		calls = append(calls, rpc.AddNodeCall(ip.String(), rpc.OneTry), rpc.AddNodeCall(ip.String(), rpc.Add))
	}
	return calls
}

// Step decides the next exchange with one node, given its last report and its links: the action, if one is due now,
// else when to decide again; zero if not before another target is published.
func Step(t Target, last Report, links Links, now time.Time, maxBackoff time.Duration) (Action, time.Time) {
	query := Action{Query: true, Hashes: missingHashes(t, last)}
	audit := time.Time{} // when the report is too old
	if last.AskedAt.Before(t.FreshAfter) {
		audit = t.FreshAfter
	}
	switch {
	case t.Login == (Login{}):
		return Action{}, time.Time{}
	case last.Self != t.Self || last.AskedAt.IsZero():
		return query, time.Time{}
	case last.Err != nil && last.Login != t.Login:
		return query, time.Time{}
	case last.Err != nil:
		return at(sooner(last.EndedAt.Add(backoff(last.Failures, maxBackoff)), audit), query, now)
	case !last.Across.None() && maps.Equal(last.Severed, t.Severed) && !now.Before(last.Ending.Next):
		return Action{Query: true, Hashes: query.Hashes, Changes: Changes{Sever: last.Ending.now(last.Across)}, severs: true},
			time.Time{}
	case len(cuts(t, last)) > 0:
		return Action{Query: true, Hashes: query.Hashes, Changes: Changes{Cut: cuts(t, last)}}, time.Time{}
	case len(query.Hashes) > 0 && unasked(t, last) || last.stale(t.Members) || !maps.Equal(last.Severed, t.Severed):
		return query, time.Time{}
	}
	due := sooner(audit, nextLook(t, last, links))
	if !last.Across.None() {
		due = sooner(due, last.Ending.Next)
	}
	if len(t.Severed) > 0 && last.SaidAt.Before(last.DialsUntil) {
		due = sooner(due, last.DialsUntil)
	}
	if !due.IsZero() && !now.Before(due) {
		return query, time.Time{}
	}
	if todo := plan(t, last, links); !todo.none() {
		return Action{Query: true, Hashes: query.Hashes, Changes: todo.first()}, time.Time{}
	}
	return Action{}, due
}

// at is the action if its time has come, else when that is.
func at(due time.Time, action Action, now time.Time) (Action, time.Time) {
	if now.Before(due) {
		return Action{}, due
	}
	return action, time.Time{}
}

// sooner is the earlier of two times, of which zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// missingHashes are the heights to ask for: first those that the node has never been asked for.
func missingHashes(t Target, last Report) []int64 {
	var never, again []int64
	for _, height := range t.Hashes {
		hash, asked := last.Hashes[height]
		switch {
		case !asked:
			never = append(never, height)
		case hash == "":
			again = append(again, height)
		}
	}
	all := append(never, again...)
	return all[:min(len(all), maxHashes)]
}

// unasked says whether the node has not been asked for all hashes that are wanted. One that doesn't tell a hash is not
// asked for that at once.
func unasked(t Target, last Report) bool {
	return slices.ContainsFunc(t.Hashes, func(height int64) bool { _, asked := last.Hashes[height]; return !asked })
}

// cuts are the connections to be cut that the node has made. By the name of a user's entry it would not find them.
func cuts(t Target, last Report) (found []netip.Addr) {
	if last.AskedAt.After(t.CutAt) {
		return nil
	}
	for _, ip := range t.Cut {
		if _, foreign := last.Foreign[ip]; last.Peers[ip] && !foreign {
			found = append(found, ip)
		}
	}
	return found
}

// nextLook is when the first link has to be looked at that the last report was too early for.
func nextLook(t Target, last Report, links Links) time.Time {
	var next time.Time
	for _, peer := range t.Dial {
		if links.waits(peer, peer.IP, last.AskedAt) {
			next = sooner(next, links[peer.IP].Next)
		}
	}
	for ip := range last.Peers { // an entry that is to go, and was listed again after it was removed
		if links.waits(Incarnation{}, ip, last.AskedAt) {
			next = sooner(next, links[ip].Next)
		}
	}
	return next
}

// plan compares what a node has in its list with what it should have. Neighbours that aren't ready are not dialled - a
// dead address holds an RPC thread for the connect timeout - but they keep their entries. Entries for nodes of the
// network that the topology no longer wants stay, too, until the target says that they may go.
func plan(t Target, last Report, links Links) Changes {
	var todo Changes
	for _, peer := range t.Dial {
		connected, listed := last.Peers[peer.IP]
		switch {
		case connected || links.waits(peer, peer.IP, last.AskedAt):
		case listed:
			todo.Redial = append(todo.Redial, peer.IP)
		default:
			todo.Dial = append(todo.Dial, peer.IP)
		}
	}
	for ip := range last.Peers {
		if _, foreign := last.Foreign[ip]; foreign || links.waits(Incarnation{}, ip, last.AskedAt) {
			continue
		}
		if _, belongs := t.Members[ip]; !belongs || ip == t.Self.IP || t.Prune && !t.wants(ip) {
			todo.Remove = append(todo.Remove, ip)
		}
	}
	slices.SortFunc(todo.Remove, netip.Addr.Compare)
	return todo
}
