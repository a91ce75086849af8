package rpc

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// echo answers every call with a height, in process: what is left is the client's own cost and that of http.Client.
type echo struct{ answer func(body []byte) []byte }

func (e echo) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	reply := e.answer(body)
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{}, Request: r,
		ContentLength: int64(len(reply)), Body: io.NopCloser(bytes.NewReader(reply)),
	}, nil
}

// answerIDs copies the ids of the requests into replies.
func answerIDs(body []byte) []byte {
	single := body[0] == '{'
	var reply bytes.Buffer
	reply.WriteByte('[')
	for i, part := range bytes.Split(body, []byte(`"id":`))[1:] {
		if i > 0 {
			reply.WriteByte(',')
		}
		id, _, _ := bytes.Cut(part, []byte(","))
		fmt.Fprintf(&reply, `{"jsonrpc":"2.0","result":101,"id":%s}`, id)
	}
	if single {
		return reply.Bytes()[1:]
	}
	reply.WriteByte(']')
	return reply.Bytes()
}

// BenchmarkEcho is what the benchmarks of the client alone count too much.
func BenchmarkEcho(b *testing.B) {
	for name, body := range map[string]string{
		"of one": `{"jsonrpc":"2.0","id":1,"method":"m","params":[]}`,
		"of 17":  "[" + strings.Repeat(`{"jsonrpc":"2.0","id":1,"method":"m","params":[]}`, 17) + "]",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := &http.Request{Body: io.NopCloser(strings.NewReader(body))}
				resp, err := echo{answerIDs}.RoundTrip(r)
				if err != nil {
					b.Fatal(err)
				}
				resp.Body.Close()
			}
		})
	}
}

func benchmark(b *testing.B, do func(*testing.B, *Client)) {
	b.Run("client alone", func(b *testing.B) {
		c := newTestClient(b, Config{URL: "http://10.0.0.1:18443", HTTPClient: &http.Client{Transport: echo{answerIDs}}})
		b.ReportAllocs()
		for b.Loop() {
			do(b, c)
		}
	})
	b.Run("with HTTP and its server", func(b *testing.B) {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.Write(answerIDs(body))
		}))
		defer srv.Close()
		c := newTestClient(b, Config{URL: srv.URL, User: "u", Password: testPassword})
		b.ReportAllocs()
		for b.Loop() {
			do(b, c)
		}
	})
}

func BenchmarkCall(b *testing.B) {
	benchmark(b, func(b *testing.B, c *Client) {
		if _, err := getBlockCount(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	})
}

// A batch of 17: eight peers dialled and added, and the height.
func BenchmarkBatch(b *testing.B) {
	benchmark(b, func(b *testing.B, c *Client) {
		var height int64
		calls := []*Call{getBlockCountCall(&height)}
		for range 8 {
			calls = append(calls, AddNodeCall("10.0.0.2", OneTry), AddNodeCall("10.0.0.2", Add))
		}
		if err := c.Batch(b.Context(), calls...); err != nil || height != 101 {
			b.Fatal(err, height)
		}
	})
}
