package rpc

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
)

const (
	testUser     = "controller"
	testPassword = "correct horse battery staple"
)

// soon is how long a call that must not hang may take before a test fails: machines are busy.
const soon = time.Minute

func TestNewClientRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"an empty URL":                  {},
		"a URL that does not parse":     {URL: "http://" + testPassword + ":%zz/"},
		"a URL with credentials":        {URL: "http://u:" + testPassword + "@127.0.0.1:1"},
		"a URL without a host":          {URL: "http://:18443"},
		"another scheme":                {URL: "ftp://127.0.0.1"},
		"a query":                       {URL: "http://127.0.0.1/?p=" + testPassword},
		"a user with a colon":           {URL: "http://127.0.0.1", User: "a:b"},
		"a negative timeout":            {URL: "http://127.0.0.1", Timeout: -1},
		"a negative limit of the reply": {URL: "http://127.0.0.1", MaxBody: -1},
		"a negative limit of values":    {URL: "http://127.0.0.1", MaxValues: -1},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewClient(cfg)
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), testPassword) {
				t.Errorf("error repeats what was in the URL: %v", err)
			}
		})
	}
}

// hang never answers; the server closes the connection at the end of the test.
func hang(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// trickle sends a byte of a legal reply now and then, so that no timeout between bytes would ever fire.
func trickle(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
			io.WriteString(w, " ")
			w.(http.Flusher).Flush()
		}
	}
}

func endless(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := io.WriteString(w, strings.Repeat("[", 4096)); err != nil {
			return
		}
	}
}

func redirect(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/elsewhere" {
		io.WriteString(w, `{"jsonrpc":"2.0","result":7,"id":1}`)
		return
	}
	http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
}

func text(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// wire answers with raw bytes and hangs up, or resets if there are none.
func wire(reply string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		if reply == "" {
			conn.(*net.TCPConn).SetLinger(0)
			return
		}
		io.WriteString(conn, reply)
	}
}

func TestABadServerIsAnErrorInTime(t *testing.T) {
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		want    []error
		says    string
	}{
		"one that never answers times out":  {hang, []error{ErrTimeout, context.DeadlineExceeded}, ""},
		"one that trickles bytes times out": {trickle, []error{ErrTimeout, context.DeadlineExceeded}, ""},
		"an endless body is too large":      {endless, []error{ErrTooLarge}, "65536 bytes"},
		"a length over the limit is too large": {
			wire("HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n"), []error{ErrTooLarge}, "65536 bytes",
		},
		"too many values are too large": {
			text(200, `{"result":[`+strings.Repeat("{},", 999)+`{}],"id":1}`), []error{ErrTooLarge}, "1000 values",
		},
		"too many replies are too large": {
			text(200, `[`+strings.Repeat("{},", 1000)+`{}]`), []error{ErrTooLarge}, "1000 values",
		},
		"headers without end are incomplete": {
			wire("HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 2000) + "\r\n"), []error{ErrTruncated},
			"headers exceeded",
		},
		"a reset is an incomplete reply": {wire(""), []error{ErrTruncated}, ""},
		"a body cut short is incomplete": {
			wire("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"jsonrpc\":"),
			[]error{ErrTruncated, io.ErrUnexpectedEOF}, "",
		},
		"JSON cut short is incomplete": {
			wire("HTTP/1.1 200 OK\r\n\r\n{\"jsonrpc\":\"2.0\",\"result\":[1"), []error{ErrTruncated}, "",
		},
		"bytes that are no HTTP are incomplete":    {wire("SSH-2.0-OpenSSH_9.2\r\n"), []error{ErrTruncated}, ""},
		"HTML is not JSON":                         {text(200, "<html>It works!</html>"), []error{ErrNotJSON}, ""},
		"an empty body is not JSON":                {text(200, ""), []error{ErrNotJSON}, ""},
		"JSON with something behind it is no JSON": {text(200, `{"result":7,"id":1} x`), []error{ErrNotJSON}, ""},
		"an array for a single call is bad":        {text(200, `[{"result":7,"id":1}]`), []error{ErrBadReply}, ""},
		"another id is bad": {
			text(200, `{"jsonrpc":"2.0","result":7,"id":2}`), []error{ErrBadReply}, "",
		},
		"a result without an id is bad": {
			text(200, `{"jsonrpc":"2.0","result":7}`), []error{ErrBadReply}, "",
		},
		"neither result nor error is bad": {text(200, `{"jsonrpc":"2.0","id":1}`), []error{ErrBadReply}, ""},
		"a null where a number is due is bad": {
			text(200, `{"result":null,"error":null,"id":1}`), []error{ErrBadReply}, "",
		},
		"a result of another type is bad": {
			text(200, `{"jsonrpc":"2.0","result":"7","id":1}`), []error{ErrBadReply}, "",
		},
		"a result with status 500 is a status": {
			text(500, `{"result":7,"error":null,"id":1}`), []error{&StatusError{500}}, "HTTP 500",
		},
		"a redirect is not followed": {redirect, []error{&StatusError{307}}, "HTTP 307"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(tc.handler)
			t.Cleanup(srv.Close)
			timeout := soon
			if slices.Contains(tc.want, ErrTimeout) {
				timeout = 200 * time.Millisecond
			}
			c := newTestClient(t, Config{URL: srv.URL, Timeout: timeout, MaxBody: 64 << 10, MaxValues: 1000})
			begin := time.Now()
			n, err := getBlockCount(t.Context(), c)
			for _, want := range tc.want {
				if !errors.Is(err, want) && !sameStatus(err, want) {
					t.Errorf("error %v, want %v", err, want)
				}
			}
			if n != 0 || !strings.Contains(fmt.Sprint(err), tc.says) {
				t.Errorf("height %d, error %v, want 0 and %q", n, err, tc.says)
			}
			if took := time.Since(begin); took > soon {
				t.Errorf("took %s", took)
			}
		})
	}
}

func TestRefusedIsUnreachable(t *testing.T) {
	c := newTestClient(t, Config{URL: "http://127.0.0.1:1"}) // nobody listens
	call := getBlockCountCall(new(int64))
	err := c.Batch(t.Context(), call)
	for _, want := range []error{ErrUnreachable, syscall.ECONNREFUSED} {
		if !errors.Is(err, want) || !errors.Is(call.Err, want) {
			t.Errorf("batch %v, call %v, want %v", err, call.Err, want)
		}
	}
}

func TestCallersContext(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(hang))
	defer srv.Close()
	c := newTestClient(t, Config{URL: srv.URL, Timeout: soon})

	t.Run("a cancellation stays one", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		_, err := get(ctx, c, GetNetworkInfoCall)
		if !errors.Is(err, context.Canceled) || errors.Is(err, ErrTimeout) {
			t.Errorf("error %v, want context.Canceled and no ErrTimeout", err)
		}
	})
	t.Run("a sooner deadline is a timeout", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		_, err := get(ctx, c, GetNetworkInfoCall)
		if !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want ErrTimeout and context.DeadlineExceeded", err)
		}
	})
	t.Run("an HTTP client's own timeout is one too", func(t *testing.T) {
		own := &http.Client{Timeout: 10 * time.Millisecond, Transport: &http.Transport{}}
		defer own.CloseIdleConnections()
		_, err := get(t.Context(), newTestClient(t, Config{URL: srv.URL, HTTPClient: own}), GetNetworkInfoCall)
		if !errors.Is(err, ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want ErrTimeout and context.DeadlineExceeded", err)
		}
	})
}

func TestTheNextCallWorksAfterATimeout(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), `"id":1,`) {
			hang(w, r)
			return
		}
		io.WriteString(w, `{"jsonrpc":"2.0","result":7,"id":2}`)
	}))
	defer srv.Close()
	c := newTestClient(t, Config{URL: srv.URL, Timeout: soon})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := getBlockCount(ctx, c); !errors.Is(err, ErrTimeout) {
		t.Fatalf("first call: %v, want ErrTimeout", err)
	}
	if n, err := getBlockCount(t.Context(), c); err != nil || n != 7 {
		t.Errorf("second call: %d, %v, want 7", n, err)
	}
}

func TestNoErrorHoldsACredential(t *testing.T) {
	token := base64.StdEncoding.EncodeToString([]byte(testUser + ":" + testPassword))
	echo := func(form string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Authorization"); got != "Basic "+token {
				t.Errorf("Authorization %q", got)
			}
			wire(strings.ReplaceAll(form, "SECRET", testPassword+" "+token))(w, r)
		}
	}
	for name, form := range map[string]string{
		"in an RPC error":       "HTTP/1.1 200 OK\r\n\r\n{\"error\":{\"code\":-1,\"message\":\"SECRET\"},\"id\":1}",
		"in the status line":    "HTTP/1.1 999 SECRET\r\n\r\nSECRET",
		"in broken HTTP":        "SECRET\r\n",
		"in a broken header":    "HTTP/1.1 200 OK\r\nSECRET\r\n\r\n",
		"in HTML":               "HTTP/1.1 200 OK\r\n\r\n<p>SECRET</p>",
		"in a wrong result":     "HTTP/1.1 200 OK\r\n\r\n{\"result\":\"SECRET\",\"id\":1}",
		"in the id":             "HTTP/1.1 200 OK\r\n\r\n{\"result\":1,\"id\":\"SECRET\"}",
		"in the length":         "HTTP/1.1 200 OK\r\nContent-Length: SECRET\r\n\r\n",
		"in a chunk":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nSECRET\r\n",
		"in a refused redirect": "HTTP/1.1 302 Found\r\nLocation: http://SECRET/\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(echo(form))
			t.Cleanup(srv.Close)
			cfg := Config{URL: srv.URL, User: testUser, Password: testPassword}
			c := newTestClient(t, cfg)
			_, err := getBlockCount(t.Context(), c)
			if err == nil {
				t.Fatal("no error")
			}
			for _, said := range []string{fmt.Sprintf("%v %+v %#v", err, err, err), fmt.Sprintf("%v %+v %#v %s", c, c, c, c),
				fmt.Sprintf("%v %+v %#v %s", cfg, cfg, cfg, cfg)} {
				if strings.Contains(said, testPassword) || strings.Contains(said, token) {
					t.Errorf("credential in %q", said)
				}
			}
		})
	}
}

// What a node sends gets into logs, and from there to a terminal.
func TestAnErrorIsALineThatATerminalCanShow(t *testing.T) {
	for name, reply := range map[string]string{
		"a long number":         `{"result":` + strings.Repeat("7", 10_000) + `,"id":1}`,
		"a long message":        `{"error":{"code":-1,"message":"` + strings.Repeat("7", 10_000) + `"},"id":1}`,
		"an escape":             `{"error":{"code":-1,"message":"\u001b[2J\r"},"id":1}`,
		"an escape in one rune": `{"error":{"code":-1,"message":"\u009b2J\u007f"},"id":1}`,
		"text that runs back":   `{"error":{"code":-1,"message":"\u202e"},"id":1}`,
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(text(200, reply))
			t.Cleanup(srv.Close)
			_, err := getBlockCount(t.Context(), newTestClient(t, Config{URL: srv.URL}))
			if err == nil {
				t.Fatal("no error")
			}
			said := err.Error()
			if len(said) > 10*maxErrorText || strings.ContainsFunc(said, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%d bytes: %.500q", len(said), said)
			}
		})
	}
}

func TestTheEnvironmentsProxyIsIgnored(t *testing.T) {
	if sharedTransport.Proxy != nil {
		t.Error("the shared transport asks for a proxy")
	}
}

func TestTheOneXFormOfAResultIsUnderstood(t *testing.T) {
	url, _ := rawServer(t, []byte("HTTP/1.1 200 OK\r\n\r\n{\"result\":42,\"error\":null,\"id\":1}\n"))
	n, err := getBlockCount(t.Context(), newTestClient(t, Config{URL: url}))
	if err != nil || n != 42 {
		t.Errorf("height %d, error %v, want 42", n, err)
	}
}
