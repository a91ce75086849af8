package rpctest

import (
	"net/http"
	"strings"
	"testing"
)

// conformWallet makes a wallet, has the node restart, and finds the wallet loaded.
func conformWallet(t *testing.T, w World) {
	node := startClients(t, w, 1)[0]
	create := []any{"miner", false, false, nil, false, true, true}
	node.must("createwallet", create...)
	node.refused(codeWallet, "createwallet", create...)
	node.refused(codeWalletLoaded, "loadwallet", "miner", true)
	mine := func() {
		t.Helper()
		address := ofWalletNamed(node, "miner", "getnewaddress")
		node.must("generatetodescriptor", 1, "addr("+address+")")
	}
	mine()
	w.Restart(t, node.Endpoint)
	if got := string(compact(t, node.must("listwallets"))); got != `["miner"]` {
		t.Errorf("after a restart the wallets are %s", got)
	}
	mine()
	ofWalletNamed(node, "miner", "unloadwallet")
	node.refused(codeWalletNotFound, "getnewaddress")
	node.must("loadwallet", "miner", true)
	mine()
}

// ofWalletNamed is the result of a call about a wallet, a text; empty if it is none.
func ofWalletNamed(c *rpcClient, wallet, method string) string {
	c.t.Helper()
	status, reply := c.exchange(http.MethodPost, "/wallet/"+wallet, fullUser, suitePassword,
		`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":[]}`)
	if status != http.StatusOK || !strings.Contains(string(reply), `"result"`) {
		c.t.Fatalf("%s of wallet %s: status %d, %s", method, wallet, status, reply)
	}
	var answer rpcAnswer
	decode(c.t, reply, &answer)
	return strings.Trim(string(answer.Result), `"`)
}

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
