// Package rpctest is a fake bitcoind for tests: many nodes in one process, each listening on an address of its own,
// which behave over HTTP and towards each other as bitcoind does where that matters to whoever meshes them.
//
// The HTTP and JSON-RPC layer is real: a client of bitcoind can't tell. The P2P layer is a model: no sockets, but
// connections with two ends, the added list and the thread that works it off with bitcoind's own timing, slots, and
// blocks that spread along connections. Time comes from a Clock.
//
// What it does is held to bitcoind in two ways: exchanges recorded from Knots 29.5 (rpc/testdata/transcripts), and
// Conformance, which was run against Knots 29.5 too, and not against Core 31. Not modelled: gossip, banning, eviction
// of inbound peers, wallets, transactions, and what differs in replies between versions beyond Flavour. A disconnection
// shows at once, where bitcoind takes up to 50 ms.
package rpctest
