package mesh

import (
	"slices"
	"strings"

	"github.com/bitcoin-controller/bitcoin-controller/rpc"
)

// What is known of a disk without asking the machine. bitcoind aborts when it is to write its chain while less than
// 50 MiB are free: validation.cpp FlushStateToDisk, common/system.cpp CheckDiskSpace.
const (
	// smallestMargin is somewhat more than bitcoind needs.
	smallestMargin = 60 << 20
	largestMargin  = 150 << 20
	// besidesBlocks is what a small chain takes besides its blocks: files are made larger by 16 MiB ahead of the blocks
	// (bitcoind: node/blockstorage.h), and there are the unspent outputs.
	besidesBlocks = 20 << 20
)

// Disk is where a node keeps its chain.
type Disk struct {
	// Size is in bytes; 0 if nobody has set it.
	Size int64
	// Volume says that it is one of its own, else a share of the machine's disk.
	Volume bool
}

// Margin is how much has to be free: a tenth, within limits.
func (d Disk) Margin() int64 { return max(smallestMargin, min(largestMargin, d.Size/10)) }

// DiskNearlyFull says whether a node's disk has so little room that the node may not be told to write, by its own words
// or by an estimate. A volume that holds more than its size is really larger, of which nothing is known.
func (r Report) DiskNearlyFull(d Disk) bool {
	if r.DiskLow || d.Size <= 0 {
		return r.DiskLow
	}
	larger := d.Volume && r.SizeOnDisk >= d.Size
	return r.Tip != "" && !larger && d.Size-r.SizeOnDisk-besidesBlocks < d.Margin()
}

// diskLow says whether bitcoind itself warns of its disk.
func diskLow(all ...rpc.Warnings) bool {
	return slices.ContainsFunc(slices.Concat(all...), func(text string) bool {
		return strings.Contains(strings.ToLower(text), "disk space")
	})
}
