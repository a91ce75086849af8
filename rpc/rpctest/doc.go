// Package rpctest is a fake bitcoind for tests: many nodes in one process, each listening on an address of its own,
// which behave over HTTP and towards each other as bitcoind does, as far as meshing them depends on it.
//
// The HTTP and JSON-RPC layer is real: a client cannot tell it from bitcoind. The P2P layer is a model: no sockets, but
// connections with two ends, the added list and the thread that dials it with bitcoind's own timing, slots, and blocks
// that spread along connections. Time comes from a Clock.
//
// Two kinds of tests compare the fake with bitcoind: exchanges recorded from Knots 29.5 (rpc/testdata/transcripts), and
// Conformance, which every end-to-end run repeats against real bitcoind. Not modelled: gossip, banning, eviction of
// inbound peers, wallets, transactions, and what differs in replies between versions beyond Flavour. A disconnection
// shows at once, where bitcoind takes up to 50 ms.
package rpctest
