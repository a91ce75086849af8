package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"testing/quick"
)

// batchCases are replies to three calls with the ids 1 to 3, each for a number.
var batchCases = map[string]struct {
	status int
	reply  string
	whole  error
	want   []int64
	errs   []error
}{
	"any order is fine": {200, `[{"result":30,"id":3},{"result":10,"id":1},{"result":20,"id":2}]`,
		nil, []int64{10, 20, 30}, []error{nil, nil, nil}},
	"1.x and 2.0 forms may mix": {
		200,
		`[{"jsonrpc":"2.0","result":10,"id":1},{"result":20,"error":null,"id":2},` +
			`{"result":null,"error":{"code":-28,"message":"x"},"id":3}]`,
		nil, []int64{10, 20, 0}, []error{nil, nil, ErrWarmingUp},
	},
	"each has its own error": {
		200,
		`[{"error":{"code":-23,"message":"x"},"id":1},{"result":20,"id":2},{"error":{"code":-29,"message":"x"},"id":3}]`,
		nil, []int64{0, 20, 0}, []error{ErrAlreadyAdded, nil, ErrNotConnected},
	},
	"a missing reply is said": {200, `[{"result":10,"id":1},{"result":30,"id":3}]`,
		nil, []int64{10, 0, 30}, []error{nil, ErrMissingReply, nil}},
	"a reply with a strange id answers nothing": {
		200, `[{"result":10,"id":1},{"result":20,"id":"2"},{"result":30,"id":4}]`, nil, []int64{10, 0, 0},
		[]error{nil, ErrMissingReply, ErrMissingReply},
	},
	"ids far out of range answer nothing": {
		200, `[{"result":1,"id":-9223372036854775808},{"result":2,"id":9223372036854775807},{"result":3,"id":1e0}]`,
		nil, []int64{0, 0, 0}, []error{ErrMissingReply, ErrMissingReply, ErrMissingReply},
	},
	"two replies with one id are bad": {
		200, `[{"result":10,"id":1},{"result":20,"id":2},{"result":30,"id":3},{"result":21,"id":2}]`, nil,
		[]int64{10, 20, 30}, []error{nil, ErrBadReply, nil},
	},
	"one error refuses the whole batch": {500, `{"result":null,"error":{"code":-32700,"message":"Parse error"},"id":null}`,
		&Error{Code: CodeParse}, nil, nil},
	"one result to a batch is bad":               {200, `{"result":1,"id":1}`, ErrBadReply, nil, nil},
	"a full queue refuses the whole batch":       {503, "Work queue depth exceeded", ErrBusy, nil, nil},
	"a forbidden method refuses the whole batch": {403, "", ErrForbidden, nil, nil},
	"garbage refuses the whole batch":            {200, "garbage", ErrNotJSON, nil, nil},
}

func TestBatchReplies(t *testing.T) {
	for name, tc := range batchCases {
		t.Run(name, func(t *testing.T) {
			url, _ := rawServer(t, fmt.Appendf(nil, "HTTP/1.1 %d %s\r\n\r\n%s", tc.status, http.StatusText(tc.status), tc.reply))
			c := newTestClient(t, Config{URL: url})
			got := make([]int64, 3)
			calls := []*Call{getBlockCountCall(&got[0]), getBlockCountCall(&got[1]), getBlockCountCall(&got[2])}
			err := c.Batch(t.Context(), calls...)
			if !errors.Is(err, tc.whole) {
				t.Fatalf("batch: %v, want %v", err, tc.whole)
			}
			for i, call := range calls {
				if tc.whole != nil {
					if call.Err != err {
						t.Errorf("call %d: %v, want the batch's own error", i, call.Err)
					}
					continue
				}
				if got[i] != tc.want[i] || !errors.Is(call.Err, tc.errs[i]) {
					t.Errorf("call %d: %d, %v, want %d, %v", i, got[i], call.Err, tc.want[i], tc.errs[i])
				}
			}
		})
	}
}

func TestAnEmptyBatchIsNoRoundTrip(t *testing.T) {
	c := newTestClient(t, Config{URL: "http://127.0.0.1:1"}) // nobody listens
	if err := c.Batch(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWhatCannotBeEncodedIsNotSent(t *testing.T) {
	c := newTestClient(t, Config{URL: "http://127.0.0.1:1"})
	call := &Call{Method: "x", Params: []any{func() {}}}
	if err := c.Batch(t.Context(), call); err == nil || errors.Is(err, ErrUnreachable) || call.Err != err {
		t.Errorf("batch %v, call %v", err, call.Err)
	}
	if err := c.Do(t.Context(), call); err == nil || errors.Is(err, ErrUnreachable) {
		t.Errorf("single: %v", err)
	}
}

func TestAnEarlierReplyDoesNotShineThrough(t *testing.T) {
	url, _ := rawServer(t, []byte("HTTP/1.1 200 OK\r\n\r\n"+`[{"result":[{"addednode":"10.0.0.2"}],"id":1}]`))
	added := []AddedNode{{Address: "10.0.0.1", Connected: true}}
	call := GetAddedNodeInfoCall(&added)
	call.Err = ErrTimeout
	if err := newTestClient(t, Config{URL: url}).Batch(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	if call.Err != nil || len(added) != 1 || added[0].Address != "10.0.0.2" || added[0].Connected {
		t.Errorf("got %+v, %v", added, call.Err)
	}
}

// Whatever the order and the gaps, every call gets its own reply or is said to have none.
func TestMatchingIsByIDAlone(t *testing.T) {
	c := newTestClient(t, Config{URL: "http://127.0.0.1:1"})
	property := func(n uint8, first int32, seed uint64) bool {
		rng := rand.New(rand.NewPCG(seed, 0))
		got := make([]int64, n)
		calls := make([]*Call, n)
		replies := []any{}
		lost := map[int]bool{}
		for i := range calls {
			calls[i] = getBlockCountCall(&got[i])
			if lost[i] = rng.IntN(4) == 0; !lost[i] {
				replies = append(replies, map[string]any{"id": int64(first) + int64(i), "result": i * i})
			}
		}
		rng.Shuffle(len(replies), func(i, j int) { replies[i], replies[j] = replies[j], replies[i] })
		body, err := json.Marshal(replies)
		if err != nil || c.decodeBatch(calls, int64(first), 200, body) != nil {
			return false
		}
		for i, call := range calls {
			if lost[i] != errors.Is(call.Err, ErrMissingReply) || (!lost[i] && got[i] != int64(i*i)) {
				return false
			}
		}
		return true
	}
	if err := quick.Check(property, nil); err != nil {
		t.Error(err)
	}
}
