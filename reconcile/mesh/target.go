package mesh

import (
	"net/netip"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Incarnation is one life of a node's bitcoind, from when its pod became ready. What an earlier one had in memory - its
// list of peers, and who was connected to it - says nothing about this one. A node that isn't ready has an IP alone, if
// it has one.
type Incarnation struct {
	Pod       types.UID
	Container string
	IP        netip.Addr
	// ReadySince is in Unix seconds: a pod that lost its readiness and has it back may have lost connections, too.
	ReadySince int64
}

// Ready says whether the node can be asked and dialled.
func (i Incarnation) Ready() bool { return i.Pod != "" }

// Login is how a node's bitcoind lets the controller in.
type Login struct{ User, Password string }

// String and GoString keep a password that is formatted by mistake to itself.
func (l Login) String() string   { return l.User }
func (l Login) GoString() string { return l.User }

// Target is what a caller wants of one node. It is immutable and published whole; the latest one counts.
type Target struct {
	// Name is the pod's, for the log.
	Name string
	Self Incarnation
	// Login is zero if the node is not to be asked.
	Login Login
	// Dial are the wanted neighbours that are ready, Keep the addresses of those that are not: they keep their entries.
	Dial []Incarnation
	Keep []netip.Addr
	// Members are all nodes of the network that have an address.
	Members map[netip.Addr]Incarnation
	// FreshAfter has the node asked again, then or at once, if its report is older.
	FreshAfter time.Time
	// Hashes are the heights of which the comparison of chains lacks the node's block hash.
	Hashes []int64
	// Await wakes the network when the node has answered, even if it says nothing new.
	Await bool
	// Cut are neighbours to be disconnected for a moment, once, if the node's report is not from after CutAt. Their
	// entries stay, and they are dialled again soon.
	Cut   []netip.Addr
	CutAt time.Time
	// FlushAfter has the node write its chain to disk, see flush.go, once it has been asked since; zero for not at all.
	FlushAfter time.Time
	// Disk is where the node keeps its chain.
	Disk Disk
	// MeasureAfter has the node tell its Measures, too, when it is asked next, if those that are known are older; zero
	// for not at all.
	MeasureAfter time.Time
	// Severed are the addresses of nodes on other sides of a partition: no connection with them may be, whoever has
	// made it.
	Severed map[netip.Addr]struct{}
	// Prune lets go of what the topology no longer wants. The caller has found every wanted edge confirmed.
	Prune bool
}

// wants says whether the topology has the node keep an entry for that address.
func (t Target) wants(ip netip.Addr) bool {
	return slices.Contains(t.Keep, ip) || slices.ContainsFunc(t.Dial,
		func(peer Incarnation) bool { return peer.IP == ip })
}

// Report is what one incarnation of a node said, whole or not at all. It is immutable.
type Report struct {
	Self  Incarnation
	Login Login
	// AskedAt is when the exchange began, zero if the node has never been asked; EndedAt is when it ended.
	AskedAt, EndedAt time.Time
	// Members are the target's of that moment: whether the report still holds of an edge is a comparison.
	Members map[netip.Addr]Incarnation
	// Peers tells of each entry of the node's added-node list whether that connection is up.
	Peers map[netip.Addr]bool
	// Foreign are the addresses in Peers whose entries are users' own. They are never removed.
	Foreign map[netip.Addr]struct{}
	// Severed are the target's of that moment, Across is what the node has to do with them.
	Severed map[netip.Addr]struct{}
	Across  Across
	// Ending is how far the node is with that. Dials is for how long, and DialsUntil until when, it may dial what was
	// taken off its list because of that.
	Ending     Ending
	Dials      time.Duration
	DialsUntil time.Time
	// NetworkOff: a user has switched the node's P2P network off.
	NetworkOff bool
	// Release is bitcoind's version, such as 29.5.0; Height and Tip are of its active chain, Tip being a block hash.
	// Headers is the height of the best chain of headers.
	Release string
	Height  int64
	Headers int64
	Tip     string
	// TipTime is what the tip says of when it was made; zero if the node doesn't tell.
	TipTime time.Time
	// PeersIn and PeersOut are all connections of the node, whoever is at the other end, by who dialled.
	PeersIn, PeersOut int
	Measures          Measures
	// Downloading: the node takes its chain for an old one, and is yet to get the rest.
	Downloading bool
	// SizeOnDisk are the bytes of its blocks. DiskLow: it says itself that its disk has too little room.
	SizeOnDisk int64
	DiskLow    bool
	// Hashes are block hashes of the active chain by height, of the heights that were asked for; empty if the node has
	// none.
	Hashes map[int64]string
	// Unchanged are the entries that the node was told to add or to remove, and said to have, or not to have, already.
	Unchanged map[string]struct{}
	// Refused is why the node didn't mine, though it was told to.
	Refused error
	// Err is why the node said nothing, Failures how many times in a row, FailedAt when the first of them began.
	Err      error
	Failures int
	FailedAt time.Time
	// SaidAt is when the node was asked what the report says of it: AskedAt, unless it has been busy since.
	SaidAt time.Time
}

// holds says whether the report is still about the same incarnation at that address.
func (r Report) holds(of Incarnation) bool { return r.Members[of.IP] == of }

// stale says whether a connection of the node has to be asked for again: its other end is another incarnation by now.
func (r Report) stale(members map[netip.Addr]Incarnation) bool {
	for ip, connected := range r.Peers {
		if member, belongs := members[ip]; connected && belongs && !r.holds(member) {
			return true
		}
	}
	return false
}

// View is what is known of a node: its last report, and which of its connections have lasted.
type View struct {
	Report
	links Links
}

// Answered says whether the node reported its peers and its chain when it was last asked.
func (v View) Answered() bool { return !v.AskedAt.IsZero() && v.Err == nil }

// Fresh says whether the node was asked at that time or later, and what counts of it is from then, too.
func (v View) Fresh(at time.Time) bool {
	return !v.AskedAt.Before(at) && (v.SaidAt.IsZero() || !v.SaidAt.Before(at))
}

// Connected says whether the node is connected to that neighbour by a dial of its own.
func (v View) Connected(to Incarnation) bool {
	return to.IP.IsValid() && v.Peers[to.IP] && v.holds(to) && v.links.state(to) != Dialing
}

// Lasts says whether that connection has been confirmed, too.
func (v View) Lasts(to Incarnation) bool { return v.Connected(to) && v.links.state(to) == Up }

// Surplus says whether the node lists nodes of the network that the topology doesn't want it to dial.
func (v View) Surplus(t Target) bool {
	for ip := range v.Peers {
		if _, foreign := v.Foreign[ip]; foreign || ip == t.Self.IP {
			continue
		}
		if _, belongs := t.Members[ip]; belongs && !t.wants(ip) {
			return true
		}
	}
	return false
}
