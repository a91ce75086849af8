package faults

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

const secretsPath = "/api/v1/namespaces/mine/secrets"

// world is an apiserver that does nothing but count, behind a proxy.
type world struct {
	*Proxy
	url             string
	arrived, killed atomic.Int32
}

func newWorld(t *testing.T, answer http.HandlerFunc) *world {
	t.Helper()
	w := &world{}
	apiserver := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		w.arrived.Add(1)
		answer(out, r)
	}))
	t.Cleanup(apiserver.Close)
	proxy, err := NewProxy(&rest.Config{Host: apiserver.URL}, func() { w.killed.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	w.Proxy, w.url = proxy, server.URL
	return w
}

func succeed(out http.ResponseWriter, _ *http.Request) { io.WriteString(out, "done") }

// post is the status that a write is answered with, 0 if there was no answer.
func (w *world) post(t *testing.T, ctx context.Context) int {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+secretsPath, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

func TestEachFaultIsWhatItSays(t *testing.T) {
	for kind, want := range map[Kind]struct{ answer, arrived, killed int }{
		"":            {200, 1, 0},
		CrashBefore:   {0, 0, 1},
		CrashAfter:    {0, 1, 1},
		LoseReply:     {0, 1, 0},
		Reset:         {0, 0, 0},
		Delay:         {200, 1, 0},
		Conflict:      {409, 0, 0},
		TooMany:       {429, 0, 0},
		InternalError: {500, 0, 0},
		Unavailable:   {503, 0, 0},
	} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, succeed)
			if kind != "" {
				w.Follow(Plan{Rules: []Rule{{Kind: kind, Class: Write}}})
			}
			if answer := w.post(t, t.Context()); answer != want.answer {
				t.Errorf("answer %d, want %d", answer, want.answer)
			}
			if arrived, killed := int(w.arrived.Load()), int(w.killed.Load()); arrived != want.arrived ||
				killed != want.killed {
				t.Errorf("%d arrived, want %d; killed %d times, want %d", arrived, want.arrived, killed, want.killed)
			}
		})
	}
}

func TestARequestThatHangsEndsWithItsClient(t *testing.T) {
	w := newWorld(t, succeed)
	w.Follow(Plan{Rules: []Rule{{Kind: Hang, Class: Write}}})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if answer := w.post(t, ctx); answer != 0 || ctx.Err() == nil || w.arrived.Load() != 0 {
		t.Errorf("answered %d, %v, arrived %d times", answer, ctx.Err(), w.arrived.Load())
	}
}

func TestAFaultBefallsTheNthOrAShareThatTheSeedFixes(t *testing.T) {
	answers := func(plan Plan, requests int) (answers []int) {
		w := newWorld(t, succeed)
		w.Follow(plan)
		for range requests {
			answers = append(answers, w.post(t, t.Context()))
		}
		return answers
	}
	second := Plan{Rules: []Rule{{Kind: Conflict, Class: Write, Nth: 2}}}
	if got := answers(second, 3); !reflect.DeepEqual(got, []int{200, 409, 200}) {
		t.Errorf("the second of three: %v", got)
	}
	elsewhere := Plan{Rules: []Rule{{Kind: Conflict, Class: Write, Namespace: "other"},
		{Kind: Conflict, Class: Write, Resource: "pods"}, {Kind: Conflict, Class: Read}}}
	if got := answers(elsewhere, 1); !reflect.DeepEqual(got, []int{200}) {
		t.Errorf("what no rule matches: %v", got)
	}
	third := Plan{Seed: 7, Rules: []Rule{{Kind: Conflict, Class: Write, Share: 0.3}}}
	first, again := answers(third, 200), answers(third, 200)
	if !reflect.DeepEqual(first, again) {
		t.Error("the same seed has other requests befallen")
	}
	befallen := strings.Count(fmt.Sprint(first), "409")
	if befallen < 30 || befallen > 90 {
		t.Errorf("%d of 200 befallen, want about 60", befallen)
	}
}

// TestEventsAreLeftOutOrExpire: of four events and a bookmark.
func TestEventsAreLeftOutOrExpire(t *testing.T) {
	events := []string{"ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ADDED"}
	for name, row := range map[string]struct {
		rules []Rule
		want  string
	}{
		"none":               {nil, "ADDED MODIFIED DELETED BOOKMARK ADDED"},
		"the third":          {[]Rule{{Kind: DropEvent, Class: Watch, Nth: 3}}, "ADDED MODIFIED BOOKMARK ADDED"},
		"those of a type":    {[]Rule{{Kind: DropEvent, Class: Watch, Type: "ADDED"}}, "MODIFIED DELETED BOOKMARK"},
		"ends at the second": {[]Rule{{Kind: Expire, Class: Watch, Nth: 2}}, "ADDED ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(out http.ResponseWriter, _ *http.Request) {
				for _, event := range events {
					fmt.Fprintf(out, `{"type":%q}`+"\n", event)
				}
			})
			w.Follow(Plan{Rules: row.rules})
			response, err := http.Get(w.url + secretsPath + "?watch=true")
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			var got []string
			for lines := bufio.NewScanner(response.Body); lines.Scan(); {
				_, rest, _ := strings.Cut(lines.Text(), `"type":"`)
				kind, _, _ := strings.Cut(rest, `"`)
				got = append(got, kind)
			}
			if text := strings.Join(got, " "); text != row.want {
				t.Errorf("events %s, want %s", text, row.want)
			}
		})
	}
}

func TestWatchesAreEndedFromOutside(t *testing.T) {
	for name, row := range map[string]struct {
		end  func(*Proxy)
		want string
		err  bool
	}{
		"expired": {(*Proxy).ExpireWatches, `"code":410`, false},
		"cut":     {(*Proxy).CutWatches, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(out http.ResponseWriter, r *http.Request) {
				fmt.Fprintln(out, `{"type":"ADDED"}`)
				out.(http.Flusher).Flush()
				<-r.Context().Done()
			})
			response, err := http.Get(w.url + secretsPath + "?watch=true")
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			events := bufio.NewReader(response.Body)
			if first, err := events.ReadString('\n'); err != nil {
				t.Fatal(first, err)
			}
			row.end(w.Proxy)
			rest, err := io.ReadAll(events)
			if !strings.Contains(string(rest), row.want) || (err != nil) != row.err {
				t.Errorf("the rest is %q, %v", rest, err)
			}
		})
	}
}

func TestAShareOfAllRequestsFailsInTheWeather(t *testing.T) {
	w := newWorld(t, succeed)
	w.Follow(Weather(3, 0.3))
	failed := 0
	for range 200 {
		if w.post(t, t.Context()) != http.StatusOK {
			failed++
		}
	}
	if failed < 25 || failed > 90 { // about 51: one kind of seven only delays
		t.Errorf("%d of 200 failed", failed)
	}
	w.Follow(Outage())
	if answer := w.post(t, t.Context()); answer != 0 {
		t.Errorf("in an outage, it answers %d", answer)
	}
}

func TestThePastIsShownUntilItIsOver(t *testing.T) {
	w := newWorld(t, func(out http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(out, `{"type":"ADDED","query":"%s"}`+"\n", r.URL.RawQuery)
	})
	get := func(query string) (int, io.ReadCloser) {
		response, err := http.Get(w.url + secretsPath + query)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { response.Body.Close() })
		return response.StatusCode, response.Body
	}
	now := w.ShowPast("42")
	if code, _ := get("?watch=true&sendInitialEvents=true"); code != http.StatusUnprocessableEntity {
		t.Errorf("a watch that begins with all there is gets %d", code)
	}
	_, list := get("?resourceVersion=0")
	const exact = "resourceVersion=42&resourceVersionMatch=Exact"
	if text, err := io.ReadAll(list); err != nil || !strings.Contains(string(text), exact) {
		t.Errorf("a list is asked for by %s, %v", text, err)
	}
	_, newest := get("")
	if text, err := io.ReadAll(newest); err != nil || strings.Contains(string(text), exact) {
		t.Errorf("a list of the newest is asked for by %s, %v", text, err)
	}
	_, events := get("?watch=true")
	told := make(chan error, 1)
	go func() {
		_, err := events.Read(make([]byte, 1))
		told <- err
	}()
	select {
	case <-told:
		t.Error("a watch tells something in the past")
	case <-time.After(50 * time.Millisecond):
	}
	now()
	if err := <-told; err != nil {
		t.Errorf("now: %v", err)
	}
	if code, _ := get("?watch=true&sendInitialEvents=true"); code != http.StatusOK {
		t.Errorf("now, a watch gets %d", code)
	}
}

func TestAPlanIsReadAsItIsWritten(t *testing.T) {
	plan := Plan{Seed: 1, Rules: []Rule{{Kind: CrashAfter, Class: Write, Nth: 3}, {Kind: DropEvent, Class: Watch,
		Resource: "pods", Namespace: "mine", Type: "DELETED", Share: 0.5}}}
	read, err := ParsePlan(plan.String())
	if err != nil || !reflect.DeepEqual(read, plan) {
		t.Errorf("%s is read as %s, %v", plan, read, err)
	}
	for _, wrong := range []string{`{"rules":[{"kind":"Explode","class":"write"}]}`,
		`{"rules":[{"kind":"Reset","class":"watch"}]}`, `{"rule":[]}`, `nonsense`} {
		if _, err := ParsePlan(wrong); err == nil {
			t.Errorf("%s is a plan", wrong)
		}
	}
}

func TestRequestsAreRead(t *testing.T) {
	for line, want := range map[string]Request{
		"GET /api/v1/pods?limit=500":                             {List, "pods", ""},
		"GET /api/v1/namespaces/mine/pods?watch=true":            {Watch, "pods", "mine"},
		"GET /api/v1/namespaces/mine/secrets/s":                  {Read, "secrets", "mine"},
		"GET /api/v1/namespaces/mine":                            {Read, "namespaces", ""},
		"POST /api/v1/namespaces/mine/secrets":                   {Write, "secrets", "mine"},
		"PATCH /apis/apps/v1/namespaces/mine/statefulsets/s":     {Write, "statefulsets", "mine"},
		"PATCH /apis/x.io/v1/namespaces/mine/nets/n/status":      {Write, "nets/status", "mine"},
		"POST /apis/events.k8s.io/v1/namespaces/mine/events":     {Other, "events", "mine"},
		"PUT /apis/coordination.k8s.io/v1/namespaces/a/leases/b": {Other, "leases", "a"},
		"GET /apis/apps/v1":                                      {Other, "", ""},
		"GET /version":                                           {Other, "", ""},
	} {
		method, target, _ := strings.Cut(line, " ")
		if got := RequestOf(httptest.NewRequest(method, target, nil)); got != want {
			t.Errorf("%s is %+v, want %+v", line, got, want)
		}
	}
}

func TestVerbs(t *testing.T) {
	const apply, pod = "application/apply-patch+yaml", "/api/v1/namespaces/a/pods/p"
	for _, row := range []struct{ method, path, contentType, verb string }{
		{"GET", pod, "", "get"}, {"GET", "/api/v1/pods", "", "list"}, {"GET", "/api/v1/pods?watch=true", "", "watch"},
		{"POST", "/api/v1/namespaces/a/pods", "", "create"}, {"PUT", pod + "/status", "", "update"},
		{"PATCH", pod, apply, "apply"}, {"PATCH", pod, "application/merge-patch+json", "patch"},
		{"DELETE", pod, "", "delete"}, {"GET", "/apis/apps/v1", "", "get"},
	} {
		is := RequestOf(httptest.NewRequest(row.method, row.path, nil))
		if verb := is.Verb(row.method, row.contentType); verb != row.verb {
			t.Errorf("%s %s (%s) is %s, want %s", row.method, row.path, row.contentType, verb, row.verb)
		}
	}
}
