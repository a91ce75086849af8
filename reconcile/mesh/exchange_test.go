package mesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

func TestOfManyErrorsAFewAreShown(t *testing.T) {
	var calls []*rpc.Call
	for range 1000 {
		calls = append(calls, &rpc.Call{Method: "addnode", Err: errors.New(strings.Repeat("x", 200))})
	}
	if err := callErrors(calls, nil); len(err.Error()) > 2000 || !strings.HasSuffix(err.Error(), "\nand 995 more") {
		t.Errorf("%d bytes: %.3000s", len(err.Error()), err)
	}
}

// answering is a client of a server that answers in the place of a bitcoind.
func answering(t *testing.T, answer func(method string) string) Node {
	t.Helper()
	t.Cleanup(rpc.CloseIdleConnections)
	ip := netip.MustParseAddr("127.83.0.1")
	listener, err := net.Listen("tcp", netip.AddrPortFrom(ip, api.RPCPort).String())
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(to http.ResponseWriter, r *http.Request) {
		var asked []struct {
			ID     int64
			Method string
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			t.Error(err)
		}
		var replies []string
		for _, call := range asked {
			replies = append(replies, fmt.Sprintf(`{"id":%d,"result":%s}`, call.ID, answer(call.Method)))
		}
		_, _ = io.WriteString(to, "["+strings.Join(replies, ",")+"]") // who hangs up has read enough
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	client, err := Connect(ip, Login{User: "controller", Password: "a password for tests"})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// honest is what bitcoind says but for its list of peers.
func honest(method string) string {
	switch method {
	case "getnetworkinfo":
		return `{"version":290500}`
	case "getblockchaininfo":
		return `{"chain":"regtest","blocks":7,"bestblockhash":"` + strings.Repeat("0", 64) + `"}`
	}
	return "null"
}

func TestWhenTheTipWasMade(t *testing.T) {
	for name, row := range map[string]struct {
		field string
		want  time.Time
	}{
		"as it says":                  {`,"time":1795339215`, time.Unix(1795339215, 0)},
		"an old one doesn't tell":     {"", time.Time{}},
		"the last second of a header": {`,"time":4294967295`, time.Unix(math.MaxUint32, 0)},
	} {
		t.Run(name, func(t *testing.T) {
			client := answering(t, func(method string) string {
				switch method {
				case "getaddednodeinfo":
					return "[]"
				case "getblockchaininfo":
					return strings.TrimSuffix(honest(method), "}") + row.field + "}"
				}
				return honest(method)
			})
			said, err := exchange(t.Context(), client, Action{Query: true})
			if err != nil || !said.TipTime.Equal(row.want) {
				t.Errorf("%v (%v), want %v", said.TipTime, err, row.want)
			}
		})
	}
}

// What a node of mainnet says of its chain is not to be compared with regtest's, and nobody is to be connected to it.
func TestANodeOfAnotherChainIsNone(t *testing.T) {
	for name, row := range map[string]struct {
		field string
		want  error
	}{
		"regtest":                {`"chain":"regtest",`, nil},
		"mainnet":                {`"chain":"main",`, rpc.ErrBadReply},
		"no chain":               {"", rpc.ErrBadReply},
		"a name that is no name": {`"chain":"` + strings.Repeat("x", 1000) + `",`, rpc.ErrBadReply},
	} {
		t.Run(name, func(t *testing.T) {
			client := answering(t, func(method string) string {
				switch method {
				case "getaddednodeinfo":
					return "[]"
				case "getblockchaininfo":
					return strings.Replace(honest(method), `"chain":"regtest",`, row.field, 1)
				}
				return honest(method)
			})
			_, err := exchange(t.Context(), client, Action{Query: true})
			if !errors.Is(err, row.want) || len(fmt.Sprint(err)) > 200 {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}

// A hundred of them are read at the same time, of each network that is worked on.
func TestNonsenseCostsNoMemory(t *testing.T) {
	repeated := func(entry string, size int) string {
		return strings.TrimSuffix(strings.Repeat(entry+",", size/(len(entry)+1)), ",")
	}
	for name, list := range map[string]string{
		"a long list of nothing":       "[" + repeated("{}", 900_000) + "]",
		"a short list of nothing":      "[" + repeated("{}", 60_000) + "]",
		"a peer with many addresses":   `[{"addresses":[` + repeated("{}", 60_000) + "]}]",
		"replies that answer nothing":  "[]}," + repeated("{}", 60_000) + `,{"result":[]`,
		"as many addresses as can fit": "[" + repeated(`{"addednode":"fd00::99"}`, 60_000) + "]",
	} {
		t.Run(name, func(t *testing.T) {
			client := answering(t, func(method string) string {
				if method == "getaddednodeinfo" {
					return list
				}
				return honest(method)
			})
			query := Action{Query: true}
			_, _ = exchange(t.Context(), client, query) // the first one pays for what all others use
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := exchange(t.Context(), client, query)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, rpc.ErrTooLarge) && !errors.Is(err, rpc.ErrBadReply) {
				t.Errorf("got %v", err)
			}
			server := 4 * len(list) // copies that it makes of its answer
			if cost := int(after.TotalAlloc-before.TotalAlloc) - server; cost > 1<<20 {
				t.Errorf("%d bytes", cost)
			}
		})
	}
}

func TestTheLongestHonestListIsUnderstood(t *testing.T) {
	var list []string
	for i := range 99 {
		list = append(list, fmt.Sprintf(`{"addednode":"fd00:1111:2222:3333:4444:5555:6666:%x","connected":true,"addresses":[{"address":"[fd00:1111:2222:3333:4444:5555:6666:%x]:18444","connected":"outbound"}]}`, 0xf000+i, 0xf000+i))
		list = append(list, fmt.Sprintf(`{"addednode":"node-%d.of-the-user.example.com:18444","connected":false,"addresses":[]}`, i))
	}
	client := answering(t, func(method string) string {
		if method == "getaddednodeinfo" {
			return "[" + strings.Join(list, ",") + "]"
		}
		return honest(method)
	})
	if said, err := exchange(t.Context(), client, Action{Query: true}); err != nil || len(said.Peers) != 99 {
		t.Errorf("%d peers, %v", len(said.Peers), err)
	}
}

// TestTheMostPeersAreUnderstood of a node that is asked for them, and no more than that.
func TestTheMostPeersAreUnderstood(t *testing.T) {
	severed := map[netip.Addr]struct{}{netip.MustParseAddr("10.0.0.124"): {}}
	for count, understood := range map[int]bool{125: true, 1250: false} {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			var list []string
			for i := range count {
				list = append(list, fmt.Sprintf(`{"addr":"10.0.0.%d:18444","inbound":false,"permissions":[%s1],"subver":"%0*d"}`,
					i%250, strings.Repeat("1,", 80), 1300, 1))
			}
			client := answering(t, func(method string) string {
				switch method {
				case "getpeerinfo":
					return "[" + strings.Join(list, ",") + "]"
				case "getaddednodeinfo":
					return "[]"
				}
				return honest(method)
			})
			said, err := exchange(t.Context(), client, Action{Query: true, Severed: severed})
			if understood && (err != nil || len(said.Across.Connections) != 1) ||
				!understood && !errors.Is(err, rpc.ErrTooLarge) {
				t.Errorf("%+v, %v", said.Across, err)
			}
		})
	}
}
