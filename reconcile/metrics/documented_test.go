package metrics

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/workqueue"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// exercise has each figure of a controller exported, those too that begin with the first event that they count.
func (i *Instruments) exercise(t *testing.T) {
	t.Helper()
	i.Show(func() []Network { return []Network{network("a")} })
	i.Pass()(0, nil)
	i.Applied("Service", "Created")
	if err := i.Counted(answers{each: []error{nil}}).Batch(t.Context(), rpc.AddNodeCall("10.0.0.1", rpc.Add)); err != nil {
		t.Fatal(err)
	}
	queue := workqueue.NewTypedRateLimitingQueueWithConfig(workqueue.DefaultTypedControllerRateLimiter[string](),
		workqueue.TypedRateLimitingQueueConfig[string]{Name: ControllerName})
	queue.AddRateLimited("a")
	queue.ShutDown()
	apiserver := httptest.NewServer(http.NotFoundHandler())
	defer apiserver.Close()
	client, err := dynamic.NewForConfig(&rest.Config{Host: apiserver.URL})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Resource(api.Resource).Delete(t.Context(), "a", metav1.DeleteOptions{}); err == nil {
		t.Fatal("something was deleted")
	}
	lock := &resourcelock.LeaseLock{LockConfig: resourcelock.ResourceLockConfig{Identity: "me"}}
	if _, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{Lock: lock, Name: "a",
		LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: time.Second,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) {}, OnStoppedLeading: func() {}}}); err != nil {
		t.Fatal(err)
	}
}

// TestEachMetricIsDocumented compares the names, types and labels in docs/operating.md with what is exported.
func TestEachMetricIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## Metrics\n")
	if !found {
		t.Fatal("no section is about metrics")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	documented := map[string]string{}
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, " | "); len(cells) == 4 && strings.HasPrefix(line, "| `") {
			documented[strings.Trim(cells[0], "| `")] = cells[1] + " by " + cells[2]
		}
	}

	i := New("v1")
	i.exercise(t)
	families, err := i.all().Gather()
	if err != nil {
		t.Fatal(err)
	}
	exported := map[string]string{}
	for _, family := range families {
		name := family.GetName()
		if strings.HasPrefix(name, "go_") || strings.HasPrefix(name, "process_") {
			continue // of every program in Go
		}
		var labels []string
		for _, label := range family.Metric[0].Label {
			labels = append(labels, label.GetName())
		}
		exported[name] = fmt.Sprint(strings.ToLower(family.GetType().String()), " by ", strings.Join(labels, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(exported)) {
		if documented[name] != exported[name] {
			t.Errorf("%s is a %s, documented as %q", name, exported[name], documented[name])
		}
		delete(documented, name)
	}
	if len(documented) > 0 {
		t.Errorf("documented, but not exported: %q", documented)
	}
}
