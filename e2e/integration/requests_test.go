//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// counter counts the controller's requests to the apiserver by namespace, watches apart, and events by themselves:
// other tests' networks may still be on their way out.
type counter struct {
	next http.RoundTripper
	// systemNamespace is where the controller keeps its Lease, which is not about networks.
	systemNamespace string

	mutex sync.Mutex
	by    map[string]requests
	// created and deleted count what the apiserver did of that, but for events, by namespace/resource/name. What was
	// created by POST has no name here.
	created, deleted map[string]int
	// cutAfter is how many writes about networks the apiserver gets before it is out of reach; 0: it always is in
	// reach.
	cutAfter, written int
}

const eventsPath = "/apis/events.k8s.io/"

// requests are counted by kind. conflicts are Secrets that were tried to be made though they are there.
type requests struct{ writes, reads, events, conflicts int }

// conflicts are those about networks in the namespace of n.
func (c *counter) conflicts(n network) int { return c.requests(n).conflicts }

// requests are those about the network so far.
func (c *counter) requests(n network) requests {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.by[n.Namespace]
}

// cut puts the apiserver out of reach after that many writes more about networks.
func (c *counter) cut(writes int) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.cutAfter = c.written + writes
}

func (c *counter) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := c.count(request); err != nil {
		return nil, err
	}
	response, err := c.next.RoundTrip(request)
	if err == nil {
		c.did(request, response.StatusCode)
	}
	if err == nil && response.StatusCode == http.StatusConflict && strings.HasSuffix(request.URL.Path, "/secrets") {
		c.wroteNothing(request)
	}
	return response, err
}

// did counts what was created and deleted.
func (c *counter) did(request *http.Request, code int) {
	_, object, namespaced := strings.Cut(request.URL.Path, "/namespaces/")
	if !namespaced || strings.HasPrefix(request.URL.Path, eventsPath) {
		return
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	switch {
	case request.Method == http.MethodDelete && code < http.StatusBadRequest:
		c.deleted[object]++
	case request.Method != http.MethodGet && code == http.StatusCreated:
		c.created[object]++
	}
}

// made are what the controller has created in the namespace of n, and removed what it has deleted there, by
// resource/name.
func (c *counter) made(n network) map[string]int    { return c.below(n, c.created) }
func (c *counter) removed(n network) map[string]int { return c.below(n, c.deleted) }

func (c *counter) below(n network, counts map[string]int) map[string]int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	found := map[string]int{}
	for object, count := range counts {
		if name, is := strings.CutPrefix(object, n.Namespace+"/"); is {
			found[name] = count
		}
	}
	return found
}

// wroteNothing is for a Secret that there is already: that it is tried to be made is no write.
func (c *counter) wroteNothing(request *http.Request) {
	_, rest, _ := strings.Cut(request.URL.Path, "/namespaces/")
	namespace, _, _ := strings.Cut(rest, "/")
	c.mutex.Lock()
	defer c.mutex.Unlock()
	now := c.by[namespace]
	now.writes--
	now.conflicts++
	c.by[namespace] = now
}

func (c *counter) count(request *http.Request) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.cutAfter > 0 && c.written >= c.cutAfter {
		return errors.New("the apiserver is out of reach")
	}
	_, rest, namespaced := strings.Cut(request.URL.Path, "/namespaces/")
	if !namespaced || request.URL.Query().Has("watch") {
		return nil
	}
	namespace, _, _ := strings.Cut(rest, "/")
	now := c.by[namespace]
	switch {
	case request.Method == http.MethodGet:
		now.reads++
	case strings.HasPrefix(request.URL.Path, eventsPath):
		now.events++
	default:
		now.writes++
		if namespace != c.systemNamespace {
			c.written++
		}
	}
	c.by[namespace] = now
	return nil
}

// followed stops a controller of an idle network and starts another one, which has to write nothing. One that writes
// only because the machine is too busy is followed by yet another.
func (n network) followed(t *testing.T, first *controller, start func() *controller) {
	t.Helper()
	kube.Eventually(t, "nothing written", func(context.Context) error {
		n.idle(t, first, 2)
		first.stop()
		second := start()
		n.audited(t, 2)
		requests := second.requests(n)
		if requests.writes+requests.events+requests.conflicts == 0 {
			return nil
		}
		n.audited(t, 1) // by then it has told why
		if !second.starved(n) {
			t.Fatalf("it wrote: %+v", requests)
		}
		first = second
		return fmt.Errorf("it wrote, as nodes didn't answer in time: %+v", requests)
	})
}

// idle waits until so many audits have passed without a request about the network: what the last events still cause
// comes before, and a status that was put off.
func (n network) idle(t *testing.T, c *controller, audits int) {
	t.Helper()
	kube.Eventually(t, "idle", func(context.Context) error {
		before := c.requests(n)
		n.audited(t, audits)
		if now := c.requests(n); now != before {
			return fmt.Errorf("requests to the apiserver went from %+v to %+v in %d audits", before, now, audits)
		}
		return nil
	})
}
