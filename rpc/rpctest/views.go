package rpctest

import (
	"encoding/json"
	"fmt"
	"slices"
)

// What the fake has no model of is constant in these replies, with the values that Knots 29.5 was recorded with. It is
// there so that a reply has the size and the shape of a real one.

type addedNodeInfo struct {
	AddedNode string             `json:"addednode"`
	Connected bool               `json:"connected"`
	Addresses []addedNodeAddress `json:"addresses"`
}

type addedNodeAddress struct {
	Address   string `json:"address"`
	Connected string `json:"connected"`
}

func getAddedNodeInfo(p *process, args arguments) (any, *rpcError) {
	only, failure := argument[string](args, 0)
	if failure != nil {
		return nil, failure
	}
	infos := make([]addedNodeInfo, 0, len(p.added))
	fault := p.node.fault
	for _, name := range p.claimed(fault) {
		if only != "" && only != name {
			continue
		}
		info := addedNodeInfo{AddedNode: name, Addresses: []addedNodeAddress{}}
		if c, at := p.addedConn(name); c != nil {
			info.Connected = true
			info.Addresses = append(info.Addresses, addedNodeAddress{at.String(), direction(c.seenBy(p).inbound)})
		}
		info.Connected = info.Connected || fault == ClaimsConnected
		infos = append(infos, info)
	}
	if only != "" && len(infos) == 0 {
		return nil, &rpcError{codeNotAdded, "Error: Node has not been added."}
	}
	return infos, nil
}

// claimed is the added list as the node tells it.
func (p *process) claimed(fault Fault) []string {
	switch fault {
	case ClaimsNone:
		return nil
	case ClaimsEntry:
		return append(slices.Clone(p.added), ClaimedEntry)
	}
	return p.added
}

func direction(inbound bool) string {
	if inbound {
		return "inbound"
	}
	return "outbound"
}

type networkInfo struct {
	Version         int             `json:"version"`
	Subversion      string          `json:"subversion"`
	ProtocolVersion int             `json:"protocolversion"`
	LocalServices   string          `json:"localservices"`
	ServicesNames   []string        `json:"localservicesnames"`
	LocalRelay      bool            `json:"localrelay"`
	TimeOffset      int             `json:"timeoffset"`
	NetworkActive   bool            `json:"networkactive"`
	Connections     int             `json:"connections"`
	ConnectionsIn   int             `json:"connections_in"`
	ConnectionsOut  int             `json:"connections_out"`
	Networks        []networkOfKind `json:"networks"`
	RelayFee        json.Number     `json:"relayfee"`
	IncrementalFee  json.Number     `json:"incrementalfee"`
	LocalAddresses  []string        `json:"localaddresses"`
	Warnings        any             `json:"warnings"`
}

type networkOfKind struct {
	Name                      string `json:"name"`
	Limited                   bool   `json:"limited"`
	Reachable                 bool   `json:"reachable"`
	Proxy                     string `json:"proxy"`
	ProxyRandomizeCredentials bool   `json:"proxy_randomize_credentials"`
}

var networksOfKinds = []networkOfKind{
	{Name: "ipv4", Reachable: true}, {Name: "ipv6", Reachable: true},
	{Name: "onion", Limited: true}, {Name: "i2p", Limited: true}, {Name: "cjdns", Limited: true},
}

func getNetworkInfo(p *process, _ arguments) (any, *rpcError) {
	inbound := 0
	for _, c := range p.conns {
		if c.to == p {
			inbound++
		}
	}
	return networkInfo{
		Version: p.node.flavour.Version, Subversion: p.node.flavour.Subversion, ProtocolVersion: 70016,
		LocalServices: services, ServicesNames: serviceNames[1:],
		LocalRelay: true, NetworkActive: p.active,
		Connections: len(p.conns), ConnectionsIn: inbound, ConnectionsOut: len(p.conns) - inbound,
		Networks: networksOfKinds, RelayFee: "0.00001000", IncrementalFee: "0.00001000",
		LocalAddresses: []string{}, Warnings: p.node.flavour.warnings(),
	}, nil
}

func (f Flavour) warnings() any {
	if f.WarningsText {
		return ""
	}
	return []string{}
}

type blockchainInfo struct {
	Chain                string      `json:"chain"`
	Blocks               int64       `json:"blocks"`
	Headers              int64       `json:"headers"`
	BestBlockHash        string      `json:"bestblockhash"`
	Bits                 string      `json:"bits"`
	Target               string      `json:"target"`
	Difficulty           json.Number `json:"difficulty"`
	Time                 int64       `json:"time"`
	MedianTime           int64       `json:"mediantime"`
	VerificationProgress float64     `json:"verificationprogress"`
	InitialBlockDownload bool        `json:"initialblockdownload"`
	ChainWork            string      `json:"chainwork"`
	SizeOnDisk           int64       `json:"size_on_disk"`
	Pruned               bool        `json:"pruned"`
	Warnings             any         `json:"warnings"`
}

func getBlockchainInfo(p *process, _ arguments) (any, *rpcError) {
	tip, name := p.node.chain.tip, "regtest"
	if p.node.fault == OtherChain {
		name = "main"
	}
	return blockchainInfo{
		Chain: name, Blocks: tip.height, Headers: tip.height, BestBlockHash: tip.hash,
		Bits: "207fffff", Target: "7fffff0000000000000000000000000000000000000000000000000000000000",
		Difficulty: "4.656542373906925e-10", Time: tip.time, MedianTime: tip.medianTime(),
		VerificationProgress: 1, InitialBlockDownload: !p.synced,
		ChainWork:  fmt.Sprintf("%064x", 2*(tip.height+1)),
		SizeOnDisk: 293 + 297*tip.height, Warnings: p.node.flavour.warnings(),
	}, nil
}

type txOutSetInfo struct {
	Height      int64       `json:"height"`
	BestBlock   string      `json:"bestblock"`
	TxOuts      int64       `json:"txouts"`
	BogoSize    int64       `json:"bogosize"`
	TotalAmount json.Number `json:"total_amount"`
	Txs         int64       `json:"transactions"`
	DiskSize    int64       `json:"disk_size"`
}

// getTxOutSetInfo writes all to disk before it counts (bitcoind: rpc/blockchain.cpp gettxoutsetinfo).
func getTxOutSetInfo(p *process, _ arguments) (any, *rpcError) {
	p.node.flush()
	tip := p.node.chain.tip
	return txOutSetInfo{Height: tip.height, BestBlock: tip.hash, TxOuts: tip.height, Txs: tip.height,
		BogoSize: 52 * tip.height, TotalAmount: "0.00000000"}, nil
}

type mempoolInfo struct {
	Loaded   bool        `json:"loaded"`
	Size     int64       `json:"size"`
	Bytes    int64       `json:"bytes"`
	TotalFee json.Number `json:"total_fee"`
}

// emptyMempool is all that there is: the fake has no transactions.
var emptyMempool = mempoolInfo{Loaded: true, TotalFee: "0.00000000"}

type chainTip struct {
	Height    int64  `json:"height"`
	Hash      string `json:"hash"`
	BranchLen int64  `json:"branchlen"`
	Status    string `json:"status"`
}

func getChainTips(p *process, _ arguments) (any, *rpcError) {
	chain := &p.node.chain
	tips := []chainTip{{chain.tip.height, chain.tip.hash, 0, "active"}}
	for _, f := range chain.forks {
		tips = append(tips, chainTip{f.tip.height, f.tip.hash, chain.branchLen(f.tip), f.status})
	}
	return tips, nil
}

const services = "0000000010000c0d"

var serviceNames = []string{"BLOOM", "NETWORK", "WITNESS", "NETWORK_LIMITED", "P2P_V2"}

type peerInfo struct {
	ID             int64  `json:"id"`
	Addr           string `json:"addr"`
	AddrBind       string `json:"addrbind"`
	LastSend       int64  `json:"lastsend"`
	LastRecv       int64  `json:"lastrecv"`
	ConnTime       int64  `json:"conntime"`
	Subversion     string `json:"subver"`
	Inbound        bool   `json:"inbound"`
	ConnectionType string `json:"connection_type"`
	peerConstants
}

// peerConstants are the fields of getpeerinfo that nothing depends on. Some are only in Knots.
type peerConstants struct {
	Network        string         `json:"network"`
	Services       string         `json:"services"`
	ServicesNames  []string       `json:"servicesnames"`
	RelayTxes      bool           `json:"relaytxes"`
	LastTx         int64          `json:"last_transaction"`
	LastBlock      int64          `json:"last_block"`
	LastAnnounced  int64          `json:"last_block_announcement"`
	BytesSent      int64          `json:"bytessent"`
	BytesRecv      int64          `json:"bytesrecv"`
	CPULoad        float64        `json:"cpu_load"`
	TimeOffset     int64          `json:"timeoffset"`
	PingTime       float64        `json:"pingtime"`
	MinPing        float64        `json:"minping"`
	Version        int            `json:"version"`
	HBTo           bool           `json:"bip152_hb_to"`
	HBFrom         bool           `json:"bip152_hb_from"`
	StartingHeight int64          `json:"startingheight"`
	Presynced      int64          `json:"presynced_headers"`
	SyncedHeaders  int64          `json:"synced_headers"`
	SyncedBlocks   int64          `json:"synced_blocks"`
	InFlight       []int64        `json:"inflight"`
	AddrRelay      bool           `json:"addr_relay_enabled"`
	AddrProcessed  int64          `json:"addr_processed"`
	AddrLimited    int64          `json:"addr_rate_limited"`
	Permissions    []string       `json:"permissions"`
	ForcedInbound  bool           `json:"forced_inbound"`
	MinFeeFilter   float64        `json:"minfeefilter"`
	SentPerMsg     map[string]int `json:"bytessent_per_msg"`
	RecvPerMsg     map[string]int `json:"bytesrecv_per_msg"`
	Transport      string         `json:"transport_protocol_type"`
	SessionID      string         `json:"session_id"`
	Misbehavior    int            `json:"misbehavior_score"`
}

var (
	messages = map[string]int{"feefilter": 29, "getheaders": 90, "headers": 22, "ping": 29, "pong": 29,
		"sendaddrv2": 33, "sendcmpct": 30, "verack": 33, "version": 150, "wtxidrelay": 33}
	anyPeer = peerConstants{
		Network: "not_publicly_routable", Services: services, ServicesNames: serviceNames, RelayTxes: true,
		BytesSent: 2116, BytesRecv: 3803, PingTime: 0.000916, MinPing: 0.000147, Version: 70016,
		Presynced: -1, SyncedHeaders: -1, SyncedBlocks: -1, InFlight: []int64{}, AddrRelay: true,
		Permissions: []string{"bloomfilter"}, MinFeeFilter: 0.09170997,
		SentPerMsg: messages, RecvPerMsg: messages, Transport: "v2",
		SessionID: "af0606e9eac81da883cb418d28fd5f9bf9beefdcd770adc9c903420b8788f5cd",
	}
)

func getPeerInfo(p *process, _ arguments) (any, *rpcError) {
	infos := make([]peerInfo, len(p.conns))
	for i, c := range p.conns {
		e := c.seenBy(p)
		infos[i] = peerInfo{
			ID: e.id, Addr: e.name, AddrBind: e.bind.String(), Inbound: e.inbound,
			LastSend: c.since.Unix(), LastRecv: c.since.Unix(), ConnTime: c.since.Unix(),
			Subversion: e.other.node.flavour.Subversion, ConnectionType: "manual", peerConstants: anyPeer,
		}
		if e.inbound {
			infos[i].ConnectionType = "inbound"
		}
	}
	return infos, nil
}
