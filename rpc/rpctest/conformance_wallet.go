package rpctest

import "testing"

// conformWallet makes a wallet, has the node restart, and finds the wallet loaded.
func conformWallet(t *testing.T, w World) {
	node := startClients(t, w, 1)[0]
	create := []any{"miner", false, false, nil, false, true, true}
	node.must("createwallet", create...)
	node.refused(codeWallet, "createwallet", create...)
	node.refused(codeWalletLoaded, "loadwallet", "miner", true)
	mine := func() {
		t.Helper()
		node.must("generatetodescriptor", 1, "addr("+read[string](node.ofWallet("miner"), "getnewaddress")+")")
	}
	mine()
	w.Restart(t, node.Endpoint)
	if got := string(compact(t, node.must("listwallets"))); got != `["miner"]` {
		t.Errorf("after a restart the wallets are %s", got)
	}
	mine()
	node.ofWallet("miner").must("unloadwallet")
	node.refused(codeWalletNotFound, "getnewaddress")
	node.must("loadwallet", "miner", true)
	mine()
}

// ofWallet makes calls about a wallet.
func (c *rpcClient) ofWallet(name string) *rpcClient {
	of := *c
	of.path = walletPath + name
	return &of
}

// conformPayment plans a payment, makes it, makes it again, and finds it: it is one and the same, before and after a restart.
func conformPayment(t *testing.T, w World) {
	node := startClients(t, w, 1)[0]
	node.must("createwallet", "miner", false, false, nil, false, true, true)
	miner := node.ofWallet("miner")
	node.must("generatetodescriptor", 100, "addr("+read[string](miner, "getnewaddress")+")")
	everything := []any{1, 9999999, []string{}, false, map[string]any{"maximumCount": 10}}
	if coins := read[[]unspent](miner, "listunspent", everything...); len(coins) != 0 {
		t.Errorf("at height 100 there are coins to spend: %v", coins)
	}
	node.must("generatetoaddress", 1, someAddress)
	coins := read[[]unspent](miner, "listunspent", everything...)
	if len(coins) != 1 || coins[0].Amount != "50.00000000" || coins[0].Confirmations != 101 {
		t.Fatalf("at height 101 the coins to spend are %v", coins)
	}
	change := read[string](miner, "getnewaddress")
	pay := func(address, amount string, broadcast bool) []any {
		return []any{[]any{map[string]string{address: amount}}, nil, "unset", 10, map[string]any{
			"inputs": []any{map[string]any{"txid": coins[0].TxID, "vout": coins[0].Vout}}, "add_inputs": false,
			"change_address": change, "change_position": 1, "locktime": 0, "add_to_wallet": broadcast}}
	}
	miner.refused(codeInvalidAddress, "send", pay("nonsense", "20", false)...)
	miner.refused(codeWallet, "send", pay(someAddress, "50", false)...) // which leaves nothing for the fee
	planned := read[sent](miner, "send", pay(someAddress, "20", false)...)
	miner.refused(codeInvalidAddress, "gettransaction", planned.TxID)
	w.Restart(t, node.Endpoint)
	send := func(when string) {
		t.Helper()
		if again := read[sent](miner, "send", pay(someAddress, "20", true)...); !again.Complete || again != planned {
			t.Errorf("%s it is %+v, planned %+v", when, again, planned)
		}
	}
	send("sent,")
	send("sent again,")
	confirmed := func() int64 { return read[confirmations](miner, "gettransaction", planned.TxID).Confirmations }
	if got := confirmed(); got != 0 {
		t.Errorf("before there is a block it has %d confirmations", got)
	}
	node.must("generatetoaddress", 1, someAddress)
	if got := confirmed(); got != 1 {
		t.Errorf("after one block it has %d confirmations", got)
	}
	send("sent when it is in the chain,")
	node.must("createwallet", "another", false, false, nil, false, true, true)
	another := node.ofWallet("another")
	another.refused(codeWallet, "send", pay(someAddress, "20", true)...)
	another.refused(codeInvalidAddress, "gettransaction", planned.TxID)
}

// conformKilledPayer kills nodes that have sent a payment: it goes on if the blocks that its coins are from were on disk.
func conformKilledPayer(t *testing.T, w World) {
	for i, node := range startClients(t, w, 2) {
		onDisk := i == 1
		node.must("createwallet", "miner", false, false, nil, false, true, true)
		miner := node.ofWallet("miner")
		node.must("generatetodescriptor", 101, "addr("+read[string](miner, "getnewaddress")+")")
		if onDisk {
			node.must("gettxoutsetinfo", "none")
		}
		coin := read[[]unspent](miner, "listunspent")[0]
		txid := read[sent](miner, "send", []any{map[string]string{someAddress: "20"}}, nil, "unset", 10, map[string]any{
			"inputs": []any{map[string]any{"txid": coin.TxID, "vout": coin.Vout}}, "add_inputs": false,
			"change_address": read[string](miner, "getnewaddress"), "add_to_wallet": true}).TxID
		w.Kill(t, node.Endpoint)
		after := read[confirmations](miner, "gettransaction", txid)
		if len(after.Details) == 0 || after.Details[0].Abandoned == onDisk {
			t.Errorf("the coins' blocks were on disk: %v; of the payment the wallet says %+v", onDisk, after)
		}
		node.must("generatetoaddress", 1, someAddress)
		if got := read[confirmations](miner, "gettransaction", txid).Confirmations; (got == 1) != onDisk {
			t.Errorf("the coins' blocks were on disk: %v; a block later the payment has %d confirmations", onDisk, got)
		}
	}
}

type (
	sent struct {
		Complete bool   `json:"complete"`
		TxID     string `json:"txid"`
	}
	confirmations struct {
		Confirmations int64 `json:"confirmations"`
		Details       []struct {
			Abandoned bool `json:"abandoned"`
		} `json:"details"`
	}
)

// conformBlockTimes has many blocks mined in one call: each is later than the median of the eleven before.
func conformBlockTimes(t *testing.T, w World) {
	node := startClients(t, w, 1)[0]
	node.must("generatetoaddress", 1, someAddress)
	began := read[chainTimes](node, "getblockchaininfo").Time
	node.must("generatetoaddress", 60, someAddress)
	if ahead := read[chainTimes](node, "getblockchaininfo").Time - began; ahead < 9 || ahead > 20 {
		t.Errorf("the last of 60 blocks is %d s after the one before them", ahead)
	}
}
