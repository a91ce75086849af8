package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bitcoin-controller/bitcoin-controller/rpc/internal/transcript"
)

// transcripts is where the recorded exchanges are.
const transcripts = "testdata/transcripts"

// reply is the recorded reply as it was on the wire.
func reply(tr *transcript.Transcript) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", tr.Response.Status, tr.Response.Reason)
	for k, v := range tr.Response.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", k, v)
	}
	b.WriteString("\r\n" + tr.Response.Body)
	return b.Bytes()
}

// firstID is the id that the recorded request began with.
func firstID(tr *transcript.Transcript) int64 {
	if tr.Request.Body != nil && strings.HasPrefix(*tr.Request.Body, "[{") {
		return 0
	}
	return 1
}

// rawServer answers every request with these very bytes and hangs up. It returns its URL and a way to get the last
// request body.
func rawServer(t testing.TB, reply []byte) (string, func() []byte) {
	t.Helper()
	bodies := make(chan []byte, 16)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		bodies <- body
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Errorf("hijack: %v", err)
			return
		}
		conn.Write(reply)
		conn.Close()
	}))
	t.Cleanup(srv.Close)
	return srv.URL, func() []byte { return <-bodies }
}

func newTestClient(t testing.TB, cfg Config) *Client {
	t.Helper()
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const regtestAddress = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"

func onetryAddInfo(ctx context.Context, c *Client) (any, error) {
	var added []AddedNode
	calls := []*Call{
		AddNodeCall("127.0.0.1:19444", OneTry),
		AddNodeCall("127.0.0.1:19444", Remove),
		AddNodeCall("127.0.0.1:19444", Add),
		GetAddedNodeInfoCall(&added),
	}
	err := c.Batch(ctx, calls...)
	for _, call := range calls {
		err = errors.Join(err, call.Err)
	}
	return added, err
}

func batchOfOne(ctx context.Context, c *Client) (any, error) {
	call := &Call{Method: "getconnectioncount", Result: new(int)}
	if err := c.Batch(ctx, call); err != nil {
		return nil, fmt.Errorf("the round trip did not fail: %w", err)
	}
	return nil, call.Err
}

var connectedNode = []AddedNode{{
	Address: "127.0.0.1:19444", Connected: true,
	Addresses: []AddedNodeAddress{{Address: "127.0.0.1:19444", Connected: "outbound"}},
}}

const (
	knots       = "/Satoshi:29.5.0/Knots:20260508/" // the release that was recorded
	genesisHash = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
	thirdHash   = "79259e746a98368e579ba6d276865d86f825e95fb642444c243aa93c8e5cc546"
)

// transcriptCases say what the client makes of each recorded reply.
var transcriptCases = map[string]struct {
	file    string
	do      do
	want    any
	wantErr error
	foreign bool // a request that this client never sends
}{
	"adding a node returns nothing": {
		file: "addnode-add", do: without(AddNodeCall("127.0.0.1:19444", Add)),
	},
	"adding twice is an error in the 1.x form": {
		file: "addnode-add-twice-v1", do: without(AddNodeCall("127.0.0.1:19444", Add)), wantErr: ErrAlreadyAdded,
	},
	"adding twice is an error in the 2.0 form": {
		file: "addnode-add-twice-v2", do: without(AddNodeCall("127.0.0.1:19444", Add)), wantErr: ErrAlreadyAdded,
	},
	"an unknown addnode command is a misc error": {
		file: "addnode-bad-command", do: undecoded("addnode", "127.0.0.9", "frobnicate"), want: "",
		wantErr: &Error{Code: CodeMisc},
	},
	"onetry says nothing of a refused connection": {file: "addnode-onetry-refused",
		do: without(AddNodeCall("127.0.0.1:1", OneTry))},
	"removing what was not added is an error in the 1.x form": {
		file: "addnode-remove-unknown-v1", do: without(AddNodeCall("127.0.0.9", Remove)), wantErr: ErrNotAdded,
	},
	"removing what was not added is an error in the 2.0 form": {
		file: "addnode-remove-unknown-v2", do: without(AddNodeCall("127.0.0.9", Remove)), wantErr: ErrNotAdded,
	},
	"a batch reads back what it did": {
		file: "batch-onetry-add-info", do: onetryAddInfo, want: connectedNode,
	},
	"disconnecting a stranger is an error": {file: "disconnectnode-unknown", wantErr: ErrNotConnected,
		do: without(DisconnectNodeCall("127.0.0.1:9"))},
	"an empty reply to a batch leaves its calls unanswered": {
		file: "empty-batch", do: batchOfOne, wantErr: ErrMissingReply, foreign: true,
	},
	"a method not whitelisted is forbidden": {
		file: "forbidden-not-whitelisted", do: returning(GetBlockchainInfoCall), want: BlockchainInfo{},
		wantErr: ErrForbidden,
	},
	"mining returns the hashes": {file: "generatetoaddress",
		do: returning(generateToAddressCall(3, regtestAddress)),
		want: []string{
			"4401408ed27cfbc6b5c1e6fb72382bdce0ef3a6ef1199cff95bf7257636e724d",
			"49aaa95942d330b1cdd1f683aa05926fb3545f2c9731520c820edc848164b514",
			thirdHash,
		}},
	"a status without JSON-RPC is a status error": {
		file: "get-method", do: returning(GetNetworkInfoCall), want: NetworkInfo{}, wantErr: &StatusError{405},
		foreign: true,
	},
	"an added node says that it is connected": {
		file: "getaddednodeinfo-connected", do: returning(GetAddedNodeInfoCall), want: connectedNode,
	},
	"an empty added list is empty": {
		file: "getaddednodeinfo-empty", do: returning(GetAddedNodeInfoCall), want: []AddedNode{},
	},
	"a chain of three blocks has height three": {
		file: "getblockchaininfo-3-blocks", do: returning(GetBlockchainInfoCall),
		want: BlockchainInfo{Chain: "regtest", Blocks: 3, Headers: 3, BestBlockHash: thirdHash, Time: 1795339215,
			SizeOnDisk: 1184,
			Warnings:   Warnings{}},
	},
	"a new chain has height zero and is in initial download": {
		file: "getblockchaininfo-genesis", do: returning(GetBlockchainInfoCall),
		want: BlockchainInfo{Chain: "regtest", BestBlockHash: genesisHash, Time: 1296688602, InitialBlockDownload: true,
			SizeOnDisk: 293,
			Warnings:   Warnings{}},
	},
	"the chain has one active tip": {file: "getchaintips", do: returning(getChainTipsCall),
		want: []chainTip{{Height: 3, Hash: thirdHash, Status: "active"}}},
	"network info has version and counts": {file: "getnetworkinfo", do: returning(GetNetworkInfoCall),
		want: NetworkInfo{Version: 290500, Subversion: knots, NetworkActive: true, Warnings: Warnings{}}},
	"the dialled end sees an inbound peer": {file: "getpeerinfo-inbound", do: returning(getPeerInfoCall),
		want: []peer{{Addr: "127.0.0.1:39760", Inbound: true, ConnectionType: "inbound", ConnTime: 1795339211,
			Subversion: knots}}},
	"the dialling end sees a manual peer": {file: "getpeerinfo", do: returning(getPeerInfoCall),
		want: []peer{{Addr: "127.0.0.1:19444", ConnectionType: "manual", ConnTime: 1795339211,
			Subversion: knots}}},
	"a reply whose id is a string is not ours": {
		file: "jsonrpc-number", do: returning(GetAddedNodeInfoCall), want: []AddedNode(nil), wantErr: ErrBadReply,
		foreign: true,
	},
	"an unknown path is a status error": {
		file: "not-found-path", do: returning(GetNetworkInfoCall), want: NetworkInfo{}, wantErr: &StatusError{404},
	},
	"a parse error has no id and is ours": {
		file: "parse-error", do: returning(GetNetworkInfoCall), want: NetworkInfo{}, wantErr: &Error{Code: CodeParse},
		foreign: true,
	},
	"stopping is answered before it is done": {file: "stop",
		do: without(&Call{Method: "stop"})},
	"no credentials are unauthorized": {
		file: "unauthorized-no-header", do: returning(GetNetworkInfoCall), want: NetworkInfo{},
		wantErr: ErrUnauthorized,
	},
	"wrong credentials are unauthorized": {
		file: "unauthorized-wrong-password", do: returning(GetNetworkInfoCall), want: NetworkInfo{},
		wantErr: ErrUnauthorized,
	},
	"an unknown method is an error in the 1.x form": {
		file: "unknown-method-v1", do: undecoded("nosuchmethod"), want: "", wantErr: ErrMethodNotFound,
	},
	"an unknown method is an error in the 2.0 form": {
		file: "unknown-method-v2", do: undecoded("nosuchmethod"), want: "", wantErr: ErrMethodNotFound,
	},
	"warming up is an error in the 1.x form": {
		file: "warmup-v1", do: returning(GetNetworkInfoCall), want: NetworkInfo{}, wantErr: ErrWarmingUp,
	},
	"warming up is an error in the 2.0 form": {
		file: "warmup-v2", do: returning(GetNetworkInfoCall), want: NetworkInfo{}, wantErr: ErrWarmingUp,
	},
	"what is whitelisted is allowed": {
		file: "whitelisted-allowed", do: returning(GetAddedNodeInfoCall), want: connectedNode,
	},
	"a full work queue is busy": {
		file: "work-queue-full", do: undecoded("waitfornewblock", 6000), want: "", wantErr: ErrBusy,
	},
}

func TestTranscripts(t *testing.T) {
	for name, tc := range transcriptCases {
		t.Run(name, func(t *testing.T) {
			tr := transcript.Load(t, transcripts, tc.file)
			url, sent := rawServer(t, reply(tr))
			c := newTestClient(t, Config{URL: url + tr.Request.Path})
			c.sequence.Store(firstID(tr) - 1)
			got, err := tc.do(t.Context(), c)
			if !errors.Is(err, tc.wantErr) && !sameStatus(err, tc.wantErr) {
				t.Errorf("error %v, want %v", err, tc.wantErr)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			if !tc.foreign {
				if diff := cmp.Diff(asVersion2(t, []byte(*tr.Request.Body)), asVersion2(t, sent())); diff != "" {
					t.Errorf("request (-recorded +sent):\n%s", diff)
				}
			}
		})
	}
}

func TestEveryTranscriptIsACase(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	used := map[string]bool{}
	for _, tc := range transcriptCases {
		used[tc.file] = true
	}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".json"); !used[name] {
			t.Errorf("%s is no case", name)
		}
	}
}

// asVersion2 decodes a request and puts 2.0 where 1.0 was recorded, since that is all the client speaks. A version that
// is no string stays what it is.
func asVersion2(t *testing.T, body []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("decode request %q: %v", body, err)
	}
	if m, ok := v.(map[string]any); ok && m["jsonrpc"] == "1.0" {
		m["jsonrpc"] = "2.0"
	}
	return v
}

func sameStatus(err, want error) bool {
	got, ok := errors.AsType[*StatusError](err)
	w, wok := want.(*StatusError)
	return ok && wok && got.Status == w.Status
}
