package rpctest

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bitcoin-controller/bitcoin-controller/rpc/internal/transcript"
)

// The users of the recordings, and how they were configured: one may call everything, one is limited, and one belongs
// to the second node.
const testPassword = "correct horse battery staple"

var recordedConf = strings.Join([]string{
	"rpcauth=" + RPCAuth("alice", testPassword, "00112233445566778899aabbccddeeff"),
	"rpcauth=" + RPCAuth("limited", testPassword, "ffeeddccbbaa99887766554433221100"),
	"rpcauth=" + RPCAuth("u", testPassword, "0f"),
	"rpcwhitelist=limited:getaddednodeinfo,addnode",
	"rpcwhitelistdefault=0",
}, "\n")

// transcripts is where the recorded exchanges are.
const transcripts = "../testdata/transcripts"

// recordedPeer is where the second node of the recordings listened.
const recordedPeer = "127.0.0.1:19444"

// stage is the state in which an exchange was recorded: two nodes on one host, of which the first is asked.
type stage struct {
	t           *testing.T
	asked, peer *Node
	conf        string
	password    string
}

func (s *stage) start() {
	s.t.Helper()
	net := NewNetwork(NewManualClock(time.Unix(1795339211, 0)))
	s.t.Cleanup(net.Close)
	s.asked = mustNode(s.t, net, Options{Flavour: Knots29, Conf: s.conf, P2P: "127.0.0.1:18444", Listen: "127.0.0.1:0"})
	s.peer = mustNode(s.t, net, Options{Flavour: Knots29, Conf: s.conf, P2P: recordedPeer, Listen: "127.0.0.1:0"})
}

func mustNode(t testing.TB, net *Network, o Options) *Node {
	t.Helper()
	n, err := net.NewNode(o)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// send replays a recorded request.
func (s *stage) send(tr *transcript.Transcript) *http.Response {
	s.t.Helper()
	var body io.Reader
	if tr.Request.Body != nil {
		body = strings.NewReader(*tr.Request.Body)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), tr.Request.Method, s.asked.URL()+tr.Request.Path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if tr.Request.User != nil {
		req.SetBasicAuth(*tr.Request.User, s.password)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// rpc makes a call in order to set the stage.
func (s *stage) rpc(method string, params ...any) {
	s.t.Helper()
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 0, "method": method, "params": params})
	if err != nil {
		s.t.Fatal(err)
	}
	tr, text, user := new(transcript.Transcript), string(body), "alice"
	tr.Request.Method, tr.Request.Path, tr.Request.Body, tr.Request.User = http.MethodPost, "/", &text, &user
	if resp := s.send(tr); resp.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s", method, resp.Status)
	}
}

func added(s *stage) { s.rpc("addnode", recordedPeer, "add") }

func connected(s *stage) {
	s.rpc("addnode", recordedPeer, "onetry")
	added(s)
}

func threeBlocks(s *stage) { s.asked.Mine(3) }

func warmingUp(s *stage) { s.asked.SetWarmup("Loading P2P addresses…") }

// dialled asks the node at the other end.
func dialled(s *stage) {
	connected(s)
	s.asked = s.peer
}

// fullQueue occupies the only thread and the only place in the queue.
func fullQueue(s *stage) {
	for range 2 {
		go func() {
			req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.asked.URL(),
				strings.NewReader(`{"method":"waitfornewblock","id":1}`))
			if err != nil {
				return
			}
			req.SetBasicAuth("alice", testPassword)
			if resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req); err == nil {
				resp.Body.Close()
			}
		}()
	}
	eventually(s.t, "a request waits for a thread", func() bool { return s.asked.queued() == 1 })
}

func wrongPassword(s *stage) { s.password = "wrong" }

// eventually polls in real time, with a deadline.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}

// transcriptCases say in which state each exchange was recorded. The state is all that tells the fake what to answer.
var transcriptCases = map[string]struct {
	file string
	set  func(*stage)
	conf string
}{
	"adding a node":                         {file: "addnode-add"},
	"adding twice in 1.x":                   {file: "addnode-add-twice-v1", set: added},
	"adding twice in 2.0":                   {file: "addnode-add-twice-v2", set: added},
	"an unknown addnode command":            {file: "addnode-bad-command"},
	"onetry to a port where nobody listens": {file: "addnode-onetry-refused"},
	"removing what was not added in 1.x":    {file: "addnode-remove-unknown-v1"},
	"removing what was not added in 2.0":    {file: "addnode-remove-unknown-v2"},
	"a batch that reads back what it did":   {file: "batch-onetry-add-info", set: added},
	"disconnecting a stranger":              {file: "disconnectnode-unknown"},
	"an empty batch":                        {file: "empty-batch"},
	"a method that is not whitelisted":      {file: "forbidden-not-whitelisted"},
	"mining":                                {file: "generatetoaddress"},
	"a GET":                                 {file: "get-method"},
	"the added list of a connected node":    {file: "getaddednodeinfo-connected", set: connected},
	"the added list of a new node":          {file: "getaddednodeinfo-empty"},
	"the chain after three blocks":          {file: "getblockchaininfo-3-blocks", set: threeBlocks},
	"the chain of a new node":               {file: "getblockchaininfo-genesis"},
	"the tips after three blocks":           {file: "getchaintips", set: threeBlocks},
	"the network of a node alone":           {file: "getnetworkinfo"},
	"the peers of a node that was dialled":  {file: "getpeerinfo-inbound", set: dialled},
	"the peers of a node that dialled":      {file: "getpeerinfo", set: connected},
	"a numeric jsonrpc":                     {file: "jsonrpc-number", set: connected},
	"a path that is not served":             {file: "not-found-path"},
	"a body that is no JSON":                {file: "parse-error"},
	"stopping":                              {file: "stop"},
	"no credentials":                        {file: "unauthorized-no-header"},
	"a wrong password":                      {file: "unauthorized-wrong-password", set: wrongPassword},
	"an unknown method in 1.x":              {file: "unknown-method-v1"},
	"an unknown method in 2.0":              {file: "unknown-method-v2"},
	"a node that warms up in 1.x":           {file: "warmup-v1", set: warmingUp},
	"a node that warms up in 2.0":           {file: "warmup-v2", set: warmingUp},
	"a method that is whitelisted":          {file: "whitelisted-allowed", set: connected},
	"a request too many for the queue": {
		file: "work-queue-full", set: fullQueue, conf: "\nrpcthreads=1\nrpcworkqueue=1",
	},
}

func TestTranscripts(t *testing.T) {
	for name, tc := range transcriptCases {
		t.Run(name, func(t *testing.T) {
			tr := transcript.Load(t, transcripts, tc.file)
			s := &stage{t: t, conf: recordedConf + tc.conf, password: testPassword}
			s.start()
			if tc.set != nil {
				tc.set(s)
			}
			resp := s.send(tr)
			if resp.StatusCode != tr.Response.Status {
				t.Errorf("status %d, recorded %d", resp.StatusCode, tr.Response.Status)
			}
			for _, header := range []string{"Content-Type", "WWW-Authenticate"} {
				if got := resp.Header.Get(header); got != tr.Response.Headers[header] {
					t.Errorf("%s %q, recorded %q", header, got, tr.Response.Headers[header])
				}
			}
			if closes := tr.Response.Headers["Connection"] == "close"; closes && !resp.Close {
				t.Error("connection stays open, recorded closed")
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			sameBody(t, tr.Response.Body, string(body))
		})
	}
}

func TestEveryTranscriptIsACase(t *testing.T) {
	files, err := filepath.Glob("../testdata/transcripts/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	var used []string
	for _, tc := range transcriptCases {
		used = append(used, tc.file)
	}
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".json"); !slices.Contains(used, name) {
			t.Errorf("%s is no case", name)
		}
	}
}

// sameBody compares what doesn't depend on hashes, times and counts: texts as they are, JSON by shape, errors and ids
// by value.
func sameBody(t *testing.T, recorded, got string) {
	t.Helper()
	var want, have any
	if json.Unmarshal([]byte(recorded), &want) != nil {
		if got != recorded {
			t.Errorf("body %q, recorded %q", got, recorded)
		}
		return
	}
	if err := json.Unmarshal([]byte(got), &have); err != nil {
		t.Fatalf("body %q is no JSON: %v", got, err)
	}
	if diff := cmp.Diff(shape("", want), shape("", have)); diff != "" {
		t.Errorf("shape (-recorded +fake):\n%s", diff)
	}
}

// exact are the fields whose values count, not only their types.
var exact = []string{"code", "id", "jsonrpc", "addednode", "connected", "inbound", "connection_type", "blocks",
	"height", "status", "chain", "initialblockdownload", "version", "subversion", "branchlen", "warnings", "size_on_disk"}

// shape replaces values by their types, and an error's text by its first words.
func shape(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		if strings.HasSuffix(key, "_per_msg") {
			return "numbers by message"
		}
		out := map[string]any{}
		for k, inner := range v {
			out[k] = shape(k, inner)
		}
		return out
	case []any:
		if strings.HasSuffix(key, "names") {
			return "names"
		}
		out := make([]any, len(v))
		for i, inner := range v {
			out[i] = shape(key, inner)
		}
		return out
	case string:
		if key == "message" {
			return strings.Join(strings.Fields(v)[:min(3, len(strings.Fields(v)))], " ")
		}
	}
	if slices.Contains(exact, key) || v == nil {
		return v
	}
	return typeName(v)
}

func typeName(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "boolean"
	}
	return "null"
}

func TestTheShapesOfTwoRepliesCanDiffer(t *testing.T) {
	for name, other := range map[string]string{
		"another type":    `{"result":{"blocks":3,"bits":7},"error":null,"id":1}`,
		"a missing field": `{"result":{"blocks":3},"error":null,"id":1}`,
		"another value":   `{"result":{"blocks":4,"bits":"x"},"error":null,"id":1}`,
		"another id":      `{"result":{"blocks":3,"bits":"x"},"error":null,"id":2}`,
	} {
		t.Run(name, func(t *testing.T) {
			var a, b any
			if err := json.Unmarshal([]byte(`{"result":{"blocks":3,"bits":"x"},"error":null,"id":1}`), &a); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(other), &b); err != nil {
				t.Fatal(err)
			}
			if cmp.Equal(shape("", a), shape("", b)) {
				t.Error("taken for the same")
			}
		})
	}
}
