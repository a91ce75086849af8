package rpctest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	fullUser, limitedUser = "conformance", "limited"
	suitePassword         = "the password of the conformance suite"

	someAddress = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"
	closedPort  = "127.0.0.1:1" // on the host of the node that dials
	stranger    = "127.0.0.9"   // an address that is on no list
)

// ConformanceConf are the lines of bitcoin.conf that the nodes of a World must have: a user that may call everything,
// and one that is limited.
func ConformanceConf() string {
	return strings.Join([]string{
		"rpcauth=" + RPCAuth(fullUser, suitePassword, "c0ffee00c0ffee00c0ffee00c0ffee00"),
		"rpcauth=" + RPCAuth(limitedUser, suitePassword, "facade00facade00facade00facade00"),
		"rpcwhitelist=" + limitedUser + ":getaddednodeinfo,getblockcount",
		"rpcwhitelistdefault=0",
	}, "\n") + "\n"
}

// rpcClient is a minimal client. It does not use package rpc, so a misreading of bitcoind in package rpc does not hide
// here.
type rpcClient struct {
	Endpoint
	t    testing.TB
	http *http.Client
	path string // of the wallet that calls are about; "/" for none
}

type rpcCall struct {
	method string
	params []any
}

type rpcAnswer struct {
	Result json.RawMessage `json:"result"`
	Error  *rpcError       `json:"error"`
	ID     *int            `json:"id"`
}

// suiteTimeout is what one round trip may take: many onetry calls, each to a real node on a slow machine.
const suiteTimeout = time.Minute

func newRPCClient(t testing.TB, e Endpoint) *rpcClient {
	// No connection is kept: one from before a restart would fail.
	transport := &http.Transport{DisableKeepAlives: true}
	return &rpcClient{Endpoint: e, t: t, http: &http.Client{Transport: transport, Timeout: suiteTimeout}, path: "/"}
}

// exchange makes an HTTP request and returns status and body. Without a user it sends no credentials.
func (c *rpcClient) exchange(method, path, user, password, body string) (int, []byte) {
	c.t.Helper()
	url := strings.TrimSuffix(c.URL, "/") + path
	req, err := http.NewRequestWithContext(c.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		c.t.Errorf("%s %s: %v", method, c.URL, err)
		return 0, nil
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Errorf("%s %s: %v", method, c.URL, err)
	}
	return resp.StatusCode, reply
}

// batch makes calls in one round trip and returns the answers in order.
func (c *rpcClient) batch(calls []rpcCall) []rpcAnswer {
	c.t.Helper()
	requests := make([]map[string]any, len(calls))
	for i, call := range calls {
		if call.params == nil {
			call.params = []any{}
		}
		requests[i] = map[string]any{"jsonrpc": "2.0", "id": i, "method": call.method, "params": call.params}
	}
	body, err := json.Marshal(requests)
	if err != nil {
		c.t.Fatal(err)
	}
	status, reply := c.exchange(http.MethodPost, c.path, fullUser, suitePassword, string(body))
	answers := make([]rpcAnswer, len(calls))
	if err := json.Unmarshal(reply, &answers); err != nil || status != http.StatusOK || len(answers) != len(calls) {
		c.t.Errorf("batch of %d on %s: status %d, %d answers, %v", len(calls), c.URL, status, len(answers), err)
		return make([]rpcAnswer, len(calls))
	}
	for i, a := range answers {
		if a.ID == nil || *a.ID != i {
			c.t.Errorf("batch on %s: the answers are not in order", c.URL)
		}
	}
	return answers
}

func (c *rpcClient) one(method string, params ...any) rpcAnswer {
	c.t.Helper()
	return c.batch([]rpcCall{{method, params}})[0]
}

// must makes a call that has to succeed.
func (c *rpcClient) must(method string, params ...any) json.RawMessage {
	c.t.Helper()
	a := c.one(method, params...)
	if a.Error != nil {
		c.t.Errorf("%s%v on %s: %+v", method, params, c.URL, a.Error)
	}
	return a.Result
}

// refused makes a call that has to fail with this code.
func (c *rpcClient) refused(code int, method string, params ...any) {
	c.t.Helper()
	if a := c.one(method, params...); a.Error == nil || a.Error.Code != code {
		c.t.Errorf("%s%v on %s: %s, %+v, want code %d", method, params, c.URL, a.Result, a.Error, code)
	}
}

func (a rpcAnswer) into(t testing.TB, v any) {
	t.Helper()
	if a.Error != nil {
		t.Fatalf("answer: %+v", a.Error)
	}
	decode(t, a.Result, v)
}

func (c *rpcClient) count() int { return read[int](c, "getconnectioncount") }

func (c *rpcClient) height() int64 { return read[int64](c, "getblockcount") }

func (c *rpcClient) tip() string { return read[string](c, "getbestblockhash") }

func (c *rpcClient) added() []addedNodeInfo { return read[[]addedNodeInfo](c, "getaddednodeinfo") }

func (c *rpcClient) peers() []peerInfo { return read[[]peerInfo](c, "getpeerinfo") }

func (c *rpcClient) connectedTo(addr string) bool {
	for _, info := range c.added() {
		if info.AddedNode == addr {
			return info.Connected
		}
	}
	return false
}

func read[T any](c *rpcClient, method string, params ...any) T {
	c.t.Helper()
	var v T
	decode(c.t, c.must(method, params...), &v)
	return v
}

func conformCalls(t *testing.T, w World) {
	node := startClients(t, w, 1)[0]
	for name, tc := range map[string]struct {
		method string
		params []any
		code   int    // 0 is success
		result string // as JSON; "" is any
	}{
		"a new node has no connections":                {"getconnectioncount", nil, 0, "0"},
		"a new node has no peers":                      {"getpeerinfo", nil, 0, "[]"},
		"a new node has added nothing":                 {"getaddednodeinfo", nil, 0, "[]"},
		"a new chain has height zero":                  {"getblockcount", nil, 0, "0"},
		"the first block is regtest's":                 {"getblockhash", []any{0}, 0, `"` + genesis.hash + `"`},
		"the tip of a new chain is the first":          {"getbestblockhash", nil, 0, `"` + genesis.hash + `"`},
		"there is no block above the tip":              {"getblockhash", []any{1000000}, codeInvalidParameter, ""},
		"a closed port is no error to onetry":          {"addnode", []any{closedPort, "onetry"}, 0, "null"},
		"what was not added can't be removed":          {"addnode", []any{stranger, "remove"}, codeNotAdded, ""},
		"an addnode command must be known":             {"addnode", []any{stranger, "frobnicate"}, codeMisc, ""},
		"addnode wants a command":                      {"addnode", []any{stranger}, codeMisc, ""},
		"disconnecting a stranger is an error":         {"disconnectnode", []any{stranger}, codeNotConnected, ""},
		"disconnectnode wants an address or an id":     {"disconnectnode", nil, codeInvalidParams, ""},
		"disconnectnode refuses an address with an id": {"disconnectnode", []any{stranger, 0}, codeInvalidParams, ""},
		"an id must be of a peer":                      {"disconnectnode", []any{"", 4711}, codeNotConnected, ""},
		"an entry of the list must be there":           {"getaddednodeinfo", []any{stranger}, codeNotAdded, ""},
		"one can't mine to what is no address":         {"generatetoaddress", []any{1, "nonsense"}, codeInvalidAddress, ""},
		"one can't mine to what is no descriptor":      {"generatetodescriptor", []any{1, "nonsense"}, codeInvalidAddress, ""},
		"nor to the descriptor of what is no address":  {"generatetodescriptor", []any{1, "addr(nonsense)"}, codeInvalidAddress, ""},
		"a new node has no wallets":                    {"listwallets", nil, 0, "[]"},
		"what is no wallet can't be loaded":            {"loadwallet", []any{"nobodys", true}, codeWalletNotFound, ""},
		"without a wallet there are no addresses":      {"getnewaddress", nil, codeWalletNotFound, ""},
		"a method must be known":                       {"nosuchmethod", nil, codeMethodNotFound, ""},
		"getnetworkinfo answers":                       {"getnetworkinfo", nil, 0, ""},
		"getblockchaininfo answers":                    {"getblockchaininfo", nil, 0, ""},
		"the only tip of a new chain is active": {
			"getchaintips", nil, 0, `[{"height":0,"hash":"` + genesis.hash + `","branchlen":0,"status":"active"}]`,
		},
		"getmempoolinfo answers":                  {"getmempoolinfo", nil, 0, ""},
		"a height that is no number is no height": {"getblockhash", []any{"zero"}, codeType, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := (&rpcClient{Endpoint: node.Endpoint, t: t, http: node.http}).one(tc.method, tc.params...)
			code := 0
			if a.Error != nil {
				code = a.Error.Code
			}
			if code != tc.code || tc.result != "" && !bytes.Equal(compact(t, a.Result), []byte(tc.result)) {
				t.Errorf("code %d, result %s, want code %d, result %s", code, a.Result, tc.code, tc.result)
			}
		})
	}
	node.must("addnode", closedPort, "add")
	node.refused(codeAlreadyAdded, "addnode", closedPort, "add")
}

func compact(t testing.TB, raw json.RawMessage) []byte {
	t.Helper()
	var buf bytes.Buffer
	if raw == nil {
		raw = nullID // a nil RawMessage is what null decodes to in some places
	}
	if err := json.Compact(&buf, raw); err != nil {
		t.Fatalf("compact %s: %v", raw, err)
	}
	return buf.Bytes()
}

const (
	countCall = `{"jsonrpc":"2.0","id":1,"method":"getblockcount","params":[]}`
	peersCall = `{"jsonrpc":"2.0","id":1,"method":"getpeerinfo","params":[]}`
)

func conformHTTP(t *testing.T, w World) {
	node := startClients(t, w, 1)[0]
	expect := func(name, method, path, user, password, body string, want httpAnswer) {
		t.Run(name, func(t *testing.T) {
			c := &rpcClient{Endpoint: node.Endpoint, t: t, http: node.http}
			status, got := c.exchange(method, path, user, password, body)
			if status != want.status || !strings.Contains(string(got), want.has) || want.has == "" && len(got) > 0 {
				t.Errorf("status %d, body %q, want %d and %q", status, got, want.status, want.has)
			}
		})
	}
	for name, tc := range map[string]struct {
		user, password, body string
		httpAnswer
	}{
		"a call is answered":             {fullUser, suitePassword, countCall, httpAnswer{200, `"result":0`}},
		"no credentials are 401":         {"", "", countCall, httpAnswer{401, ""}},
		"a wrong password is 401":        {fullUser, "wrong", countCall, httpAnswer{401, ""}},
		"a wrong user is 401":            {"nobody", suitePassword, countCall, httpAnswer{401, ""}},
		"what is whitelisted is allowed": {limitedUser, suitePassword, countCall, httpAnswer{200, `"result":0`}},
		"what is not whitelisted is 403": {limitedUser, suitePassword, peersCall, httpAnswer{403, ""}},
		"one call not whitelisted makes a batch 403": {
			limitedUser, suitePassword, "[" + countCall + "," + peersCall + "]", httpAnswer{403, ""},
		},
	} {
		expect(name, http.MethodPost, "/", tc.user, tc.password, tc.body, tc.httpAnswer)
	}
	expect("another path is 404", http.MethodPost, "/nowhere", fullUser, suitePassword, countCall, httpAnswer{404, ""})
	expect("another method is 405", http.MethodGet, "/", fullUser, suitePassword, "", httpAnswer{405, onlyPOST})
	for name, tc := range bodies {
		expect(name, http.MethodPost, "/", fullUser, suitePassword, tc.body, tc.httpAnswer)
	}
}

// httpAnswer is a status, and what the body has; there is none, if that is empty.
type httpAnswer struct {
	status int
	has    string
}

// bodies are what may be posted, and what comes of it.
var bodies = map[string]struct {
	body string
	httpAnswer
}{
	"an error is 200 in 2.0": {
		`{"jsonrpc":"2.0","id":1,"method":"addnode","params":["` + stranger + `","remove"]}`, httpAnswer{200, `"code":-24`},
	},
	"an error is 500 in 1.x": {
		`{"id":1,"method":"addnode","params":["` + stranger + `","remove"]}`, httpAnswer{500, `"code":-24`},
	},
	"a missing method is 400": {
		`{"jsonrpc":"2.0","id":1}`, httpAnswer{400, `"code":-32600`},
	},
	"parameters that are a number are 400": {
		`{"jsonrpc":"2.0","id":1,"method":"getblockhash","params":7}`, httpAnswer{400, `"code":-32600`},
	},
	"parameters may have names": {
		`{"jsonrpc":"2.0","id":1,"method":"getblockhash","params":{"height":0}}`, httpAnswer{200, genesis.hash},
	},
	"an unknown parameter name is an error": {
		`{"jsonrpc":"2.0","id":1,"method":"getblockhash","params":{"depth":0}}`, httpAnswer{200, `"code":-8`},
	},
	"without an id 2.0 wants no answer": {
		`{"jsonrpc":"2.0","method":"getblockcount"}`, httpAnswer{204, ""},
	},
	"a batch of 2.0 calls without ids wants no answer": {
		`[{"jsonrpc":"2.0","method":"getblockcount"}]`, httpAnswer{204, ""},
	},
	"without an id 1.x gets an answer": {
		`{"method":"getblockcount"}`, httpAnswer{200, `{"result":0,"error":null}`},
	},
	"an id may be anything": {
		`{"jsonrpc":"2.0","id":{"a":[1]},"method":"getblockcount"}`, httpAnswer{200, `"id":{"a":[1]}`},
	},
	"in a batch, what is no object is an error": {
		"[7," + countCall + "]", httpAnswer{200, `"code":-32600`},
	},
	"JSON that is neither object nor array is 500": {
		"7", httpAnswer{500, `"code":-32700`},
	},
	"an unknown method is 200 in 2.0": {
		`{"jsonrpc":"2.0","id":1,"method":"nosuchmethod"}`, httpAnswer{200, `"code":-32601`},
	},
	"an unknown method is 404 in 1.x": {
		`{"jsonrpc":"1.0","id":1,"method":"nosuchmethod"}`, httpAnswer{404, `"code":-32601`},
	},
	"what is no JSON is 500": {
		"{nonsense", httpAnswer{500, `"code":-32700`},
	},
	"an empty batch is an empty array": {
		"[]", httpAnswer{200, "[]"},
	},
	"a batch is 200 whatever becomes of a call": {
		`[{"id":1,"method":"nosuchmethod"},` + countCall + `]`, httpAnswer{200, `"code":-32601`},
	},
	"a 1.x answer has an error even if it is null": {
		`{"id":1,"method":"getblockcount"}`, httpAnswer{200, `"error":null`},
	},
}
