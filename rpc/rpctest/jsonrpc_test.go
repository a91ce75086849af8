package rpctest

import (
	"net/http"
	"strings"
	"testing"
)

func TestFlavoursAndFormsOfRequests(t *testing.T) {
	net := NewNetwork(nil)
	t.Cleanup(net.Close)
	const call = `"method":"getblockcount","params":[]`
	for name, tc := range map[string]struct {
		flavour Flavour
		body    string
		status  int
		want    string
	}{
		"Knots takes a number for 1.x": {
			Knots29, `{"jsonrpc":2.0,"id":1,` + call + `}`, 200, `{"result":0,"error":null,"id":1}`,
		},
		"Core refuses a number": {
			Core31, `{"jsonrpc":2.0,"id":1,` + call + `}`, 400,
			`{"result":null,"error":{"code":-32600,"message":"jsonrpc field must be a string"},"id":1}`,
		},
		"in a batch, Core refuses the one call": {
			Core31, `[{"jsonrpc":1,"id":1,` + call + `},{"jsonrpc":"2.0","id":2,` + call + `}]`, 200,
			`[{"result":null,"error":{"code":-32600,"message":"jsonrpc field must be a string"},"id":1},` +
				`{"jsonrpc":"2.0","result":0,"id":2}]`,
		},
		"Knots takes another version for 1.x": {
			Knots29, `{"jsonrpc":"3.0","id":1,` + call + `}`, 200, `{"result":0,"error":null,"id":1}`,
		},
		"Core refuses another version": {
			Core31, `{"jsonrpc":"3.0","id":1,` + call + `}`, 400,
			`{"result":null,"error":{"code":-32600,"message":"JSON-RPC version not supported"},"id":1}`,
		},
		"before v28 everything is 1.x": {
			Core27, `{"jsonrpc":"2.0","id":1,"method":"nosuchmethod"}`, 404,
			`{"result":null,"error":{"code":-32601,"message":"Method not found"},"id":1}`,
		},
		"without an id 2.0 wants no answer":                {Core31, `{"jsonrpc":"2.0",` + call + `}`, 204, ``},
		"a batch of 2.0 calls without ids wants no answer": {Core31, `[{"jsonrpc":"2.0",` + call + `}]`, 204, ``},
		"without an id 1.x gets an answer":                 {Core31, `{` + call + `}`, 200, `{"result":0,"error":null}`},
		"an id may be anything": {
			Core31, `{"jsonrpc":"2.0","id":{"a":[1]},` + call + `}`, 200, `{"jsonrpc":"2.0","result":0,"id":{"a":[1]}}`,
		},
		"parameters may have names": {
			Core31, `{"jsonrpc":"2.0","id":1,"method":"getblockhash","params":{"height":7}}`, 200,
			`{"jsonrpc":"2.0","error":{"code":-8,"message":"Block height out of range"},"id":1}`,
		},
		"an unknown parameter name is an error": {
			Core31, `{"jsonrpc":"2.0","id":1,"method":"getblockhash","params":{"depth":7}}`, 200,
			`{"jsonrpc":"2.0","error":{"code":-8,"message":"Unknown named parameter depth"},"id":1}`,
		},
		"parameters are an array or an object": {
			Core31, `{"jsonrpc":"2.0","id":1,"method":"getblockhash","params":7}`, 400,
			`{"jsonrpc":"2.0","error":{"code":-32600,"message":"Params must be an array or object"},"id":1}`,
		},
		"a method is needed": {
			Core31, `{"id":1}`, 400, `{"result":null,"error":{"code":-32600,"message":"Missing method"},"id":1}`,
		},
		"a request in a batch is an object": {
			Core31, `[7]`, 200,
			`[{"result":null,"error":{"code":-32600,"message":"Invalid Request object"},"id":null}]`,
		},
		"a request is an object or an array of them": {
			Core31, `7`, 500,
			`{"result":null,"error":{"code":-32700,"message":"Top-level object parse error"},"id":null}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := mustNode(t, net, Options{Flavour: tc.flavour, Conf: ConformanceConf()})
			t.Cleanup(n.Close)
			c := newRPCClient(t, Endpoint{URL: n.URL()})
			status, body := c.exchange(http.MethodPost, "/", fullUser, suitePassword, tc.body)
			if got := strings.TrimSpace(string(body)); status != tc.status || got != tc.want {
				t.Errorf("status %d, body %s, want %d, %s", status, got, tc.status, tc.want)
			}
		})
	}
}
