//go:build e2e && bench

package suite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const benchPartitions = 10

// benchPartition cuts a network in two and joins it again, several times.
func benchPartition(t *testing.T, to *table, nodes int) {
	b := startBench(t, nodes)
	defer b.end(t)
	side := make([]int, nodes/2)
	for i := range side {
		side[i] = i
	}
	across := slices.DeleteFunc(b.pairs(t), func(p pair) bool { return (p.from < len(side)) == (p.to < len(side)) })
	var cut, ready, connected []float64
	for range benchPartitions {
		began := time.Now()
		b.Patch(t, fmt.Sprintf("{spec: {partition: {sides: [{nodes: [%s]}]}}}",
			strings.Trim(strings.Join(strings.Fields(fmt.Sprint(side)), ","), "[]")))
		cut = append(cut, b.until(t, began, statusSeen{ready: true, partitioned: true}))
		if err := b.across(t.Context(), nodes, side); err != nil {
			t.Error(err)
		}
		began = time.Now()
		b.Patch(t, "{spec: {partition: null}}")
		ready = append(ready, b.until(t, began, statusSeen{ready: true}))
		_, last := b.connected(t, began, across)
		connected = append(connected, last.Sub(began).Seconds())
	}
	to.row(t, strconv.Itoa(nodes), spread(cut), spread(ready), spread(connected))
}

// until waits until the status says so, and returns how many seconds after began it did.
func (b *bench) until(t *testing.T, began time.Time, want statusSeen) float64 {
	t.Helper()
	var at time.Time
	kube.Eventually(t, fmt.Sprintf("%+v", want), func(context.Context) (err error) {
		at, err = b.seen.became(began, want)
		return err
	})
	return at.Sub(began).Seconds()
}

// became is when the status was first like that after some time.
func (s *seen) became(after time.Time, want statusSeen) (time.Time, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, status := range s.statuses {
		if status.at.After(after) && status.ready == want.ready && status.partitioned == want.partitioned {
			return status.at, nil
		}
	}
	return time.Time{}, errors.New("the status doesn't say so")
}
