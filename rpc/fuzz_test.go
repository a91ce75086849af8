package rpc

import (
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bitcoin-controller/bitcoin-controller/rpc/internal/transcript"
)

// addTranscripts seeds a target with what bitcoind really answers.
func addTranscripts(f *testing.F) {
	files, err := filepath.Glob("testdata/transcripts/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		tr := transcript.Load(f, transcripts, strings.TrimSuffix(filepath.Base(file), ".json"))
		f.Add(tr.Response.Status, []byte(tr.Response.Body))
	}
}

// FuzzReply feeds the decoder of single replies. It may take a reply for good only if it is JSON, with status 200, of
// our id and with a result.
func FuzzReply(f *testing.F) {
	addTranscripts(f)
	// What is there twice counts as what it is last, whatever it was before.
	f.Add(200, []byte(`{"id":"x","id":1,"result":7}`))
	f.Add(200, []byte(`{"error":{"data":1e999},"error":null,"id":1,"result":7}`))
	c := newTestClient(f, Config{URL: "http://127.0.0.1:1"})
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		for _, call := range []*Call{
			GetBlockchainInfoCall(new(BlockchainInfo)), GetNetworkInfoCall(new(NetworkInfo)),
			getPeerInfoCall(new([]peer)), GetAddedNodeInfoCall(new([]AddedNode)),
			getBlockCountCall(new(int64)), {Method: "stop"}, {Method: "raw", Result: new(json.RawMessage)},
		} {
			c.decodeSingle(call, 1, status, body)
			if call.Err != nil {
				if text := call.Err.Error(); len(text) > 10*maxErrorText {
					t.Errorf("%s: an error of %d bytes", call.Method, len(text))
				}
				continue
			}
			var reply struct{ ID, Result, Error json.RawMessage } // not any: JSON has numbers that a float64 has not
			if status != http.StatusOK || json.Unmarshal(body, &reply) != nil ||
				string(reply.ID) != "1" || reply.Result == nil || !isNull(reply.Error) {
				t.Errorf("%s: status %d and %q taken for good", call.Method, status, body)
			}
		}
	})
}

// FuzzBatch feeds the batch matcher. Every call is settled one way or the other, and the order of the replies makes no
// difference.
func FuzzBatch(f *testing.F) {
	addTranscripts(f)
	f.Add(200, []byte(`[{"result":1,"id":3},{"result":2,"id":1},{"error":{"code":-23,"message":""},"id":2},`+
		`{"result":0,"id":0}]`))
	c := newTestClient(f, Config{URL: "http://127.0.0.1:1"})
	match := func(status int, body []byte) ([]int64, []*Call, error) {
		got := make([]int64, 4)
		var calls []*Call
		for i := range got {
			calls = append(calls, getBlockCountCall(&got[i]))
		}
		return got, calls, c.decodeBatch(calls, 0, status, body)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		got, calls, err := match(status, body)
		var replies []json.RawMessage
		if notAll := json.Unmarshal(body, &replies); err != nil || notAll != nil {
			if err == nil {
				t.Errorf("%q taken for a batch", body)
			}
			return
		}
		answered := 0
		for i, call := range calls {
			if !errors.Is(call.Err, ErrMissingReply) {
				answered++
			}
			if call.Err == nil && status != http.StatusOK {
				t.Errorf("call %d: status %d taken for good", i, status)
			}
		}
		if answered > len(replies) {
			t.Errorf("%d calls answered by %d replies", answered, len(replies))
		}
		slices.Reverse(replies)
		reversed, err := json.Marshal(replies)
		if err != nil {
			t.Fatal(err)
		}
		gotAgain, callsAgain, err := match(status, reversed)
		if err != nil {
			t.Fatalf("reversed: %v", err)
		}
		for i, call := range calls {
			same := (call.Err == nil) == (callsAgain[i].Err == nil) && (call.Err != nil || got[i] == gotAgain[i])
			if !same || errors.Is(call.Err, ErrMissingReply) != errors.Is(callsAgain[i].Err, ErrMissingReply) {
				t.Errorf("call %d: %d, %v, but reversed %d, %v", i, got[i], call.Err, gotAgain[i], callsAgain[i].Err)
			}
		}
	})
}
