package mesh

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestWhenANodeFlushes(t *testing.T) {
	const tip, older = "b", "a"
	for name, row := range map[string]struct {
		target func(*Target)
		said   func(*Report)
		before flushes
		want   bool
	}{
		"nothing is known to be on disk":               {want: true},
		"an older tip is":                              {before: flushes{tip: older}, want: true},
		"the chain has not grown since":                {before: flushes{tip: tip}},
		"it was tried since":                           {before: flushes{tip: older, tried: start.Add(time.Second)}},
		"it was tried before":                          {before: flushes{tip: older, tried: start.Add(-1)}, want: true},
		"not before an audit":                          {target: func(t *Target) { t.FlushAfter = time.Time{} }},
		"it was asked before the audit":                {said: func(r *Report) { r.AskedAt = start.Add(-1) }},
		"it does not answer":                           {said: func(r *Report) { r.Err = errors.New("no") }},
		"it has the first block alone":                 {said: func(r *Report) { r.Height = 0 }},
		"it downloads blocks":                          {said: func(r *Report) { r.Downloading = true }},
		"its disk is nearly full":                      {said: func(r *Report) { r.SizeOnDisk = 950 << 20 }},
		"it warns of its disk":                         {said: func(r *Report) { r.DiskLow = true }},
		"its disk has room":                            {said: func(r *Report) { r.SizeOnDisk = 850 << 20 }, want: true},
		"its volume is larger than was asked for":      {said: func(r *Report) { r.SizeOnDisk = 2 << 30 }, want: true},
		"its disk has no size, as without any storage": {target: func(t *Target) { t.Disk = Disk{} }, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			target := targetOf(2)
			target.FlushAfter, target.Disk = start, Disk{Size: 1 << 30, Volume: true}
			said := reportOf(target, start)
			said.Height, said.Tip = 7, tip
			if row.target != nil {
				row.target(&target)
			}
			if row.said != nil {
				row.said(&said)
			}
			if got := row.before.due(target, said); got != row.want {
				t.Errorf("due is %v", got)
			}
		})
	}
}

func TestHowMuchOfADiskHasToBeFree(t *testing.T) {
	const mib = int64(1 << 20)
	for size, want := range map[int64]int64{64 * mib: 60 * mib, 1000 * mib: 100 * mib, 100_000 * mib: 150 * mib} {
		if got := (Disk{Size: size}).Margin(); got != want {
			t.Errorf("of %d MiB %d have to be free, want %d", size/mib, got/mib, want/mib)
		}
	}
	// A share of the machine's disk has a limit beyond which the pod is evicted.
	said := Report{Tip: "a", SizeOnDisk: 200 * mib}
	if !said.DiskNearlyFull(Disk{Size: 100 * mib}) || said.DiskNearlyFull(Disk{Size: 100 * mib, Volume: true}) {
		t.Error("a share that is used up is nearly full, a volume that holds more than its size is larger")
	}
	if (Report{}).DiskNearlyFull(Disk{Size: 10 * mib}) {
		t.Error("of a node that says nothing, nothing is known")
	}
}

func TestAWarningOfTheDiskIsUnderstoodInBothForms(t *testing.T) {
	const words = "A fatal internal error occurred, see debug.log for details: Disk space is too low!"
	for name, said := range map[string]string{"a list": `["x","` + words + `"]`, "one string": `"` + words + `"`,
		"no warning": `[]`} {
		t.Run(name, func(t *testing.T) {
			client := answering(t, func(method string) string {
				if method == "getblockchaininfo" {
					return `{"chain":"regtest","blocks":7,"bestblockhash":"` + strings.Repeat("0", 64) +
						`","size_on_disk":4711,"warnings":` + said + `}`
				}
				return strings.ReplaceAll(honest(method), "null", "[]")
			})
			got, err := exchange(t.Context(), client, Action{Query: true})
			if err != nil || got.DiskLow != (name != "no warning") || got.SizeOnDisk != 4711 {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}
