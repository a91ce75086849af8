package cluster

import (
	"context"
	"fmt"
	"strings"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// Events are those about the network, as "type reason: note", and how often each happened.
func (n Network) Events(t *testing.T) map[string]int {
	t.Helper()
	found, err := n.events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Event waits until there is an event with these words.
func (n Network) Event(t *testing.T, words string) {
	t.Helper()
	n.Cluster.Eventually(t, words, func(ctx context.Context) error {
		found, err := n.events(ctx)
		if err != nil {
			return err
		}
		for line := range found {
			if strings.Contains(line, words) {
				return nil
			}
		}
		return fmt.Errorf("events are %v", found)
	})
}

func (n Network) events(ctx context.Context) (map[string]int, error) {
	about := metav1.ListOptions{FieldSelector: "regarding.kind=BitcoinNetwork,regarding.name=" + n.Name}
	list, err := n.Cluster.Resource(EventsV1).Namespace(n.Namespace).List(ctx, about)
	if err != nil {
		return nil, err
	}
	found := map[string]int{}
	for i := range list.Items {
		event, err := unstructuredx.Into[eventsv1.Event](&list.Items[i])
		if err != nil {
			return nil, err
		}
		times := 1
		if event.Series != nil {
			times = int(event.Series.Count)
		}
		found[fmt.Sprintf("%s %s: %s", event.Type, event.Reason, event.Note)] += times
	}
	return found, nil
}
