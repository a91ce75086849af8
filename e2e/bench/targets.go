package main

import (
	"fmt"
	"strings"
)

// target is what a figure of ours has to be.
type target struct {
	name string
	// met compares what was measured; measured is empty if it was not.
	met func(r *report) (measured string, met bool)
}

// result is what became of a target.
type result struct {
	Target   string `json:"target"`
	Measured string `json:"measured"`
	Met      bool   `json:"met"`
}

// The sizes that targets are about.
const (
	manyNetworks = 1000
	fewNetworks  = 10
	lifeNodes    = 5
)

// targets are those of two cores.
var targets = []target{
	{"RSS of at most 150 MB at 1,000 networks of 5", atMost("RSS", manyNetworks, 150e6)},
	{"RSS of at most 150 MB after a start over 1,000 networks of 5", atMost("RSS after a start", manyNetworks, 150e6)},
	{"steady within 60 s of a start over 1,000 networks of 5", atMost("start to steady", manyNetworks, 60)},
	{"no write at a start, nor one that is answered 409", atMost("start API writes", manyNetworks, 0)},
	{"at least 5x fewer API writes than the rival in a network's life", timesFewer("life API writes", lifeNodes, 5)},
	{"at least 10x fewer RPC round trips than the rival in a network's life",
		timesFewer("life RPC round trips", lifeNodes, 10)},
	{"Ready to re-added, p99, under 100 ms alone", atMost("Ready to re-added, p99", manyNetworks, 100)},
	{"Ready to re-added, p99, under 500 ms under churn", atMost("Ready to re-added under churn, p99", manyNetworks, 500)},
	{"API writes a network flat from 10 to 1,000, within 20 %", flat("create a network: API writes")},
	{"API reads a network flat from 10 to 1,000, within 20 %", flat("create a network: API reads")},
	{"API bytes a network flat from 10 to 1,000, within 20 %", flat("create a network: API bytes")},
	{"CPU a network flat from 10 to 1,000, within 20 %", flat("create a network: CPU")},
}

// atMost is about the median of a figure.
func atMost(figure string, size int, limit float64) func(*report) (string, bool) {
	return func(r *report) (string, bool) {
		v := r.find(figure, size, oursName)
		return v.cell(), v != nil && v.Median <= limit && v.Late == 0
	}
}

func timesFewer(figure string, size int, times float64) func(*report) (string, bool) {
	return func(r *report) (string, bool) {
		ours, other := r.find(figure, size, oursName), r.find(figure, size, rivalName)
		if ours == nil || other == nil {
			return "", false
		}
		return fmt.Sprintf("%s, the rival %s: %s", format(ours.Median, ""), format(other.Median, ""), ratio(ours, other)),
			other.Median >= times*ours.Median
	}
}

// flat is about what a network costs: not more among many than among few, but for a fifth.
func flat(figure string) func(*report) (string, bool) {
	return func(r *report) (string, bool) {
		few, many := r.find(figure, fewNetworks, oursName), r.find(figure, manyNetworks, oursName)
		if few == nil || many == nil {
			return "", false
		}
		return fmt.Sprintf("%s at %d, %s at %d", format(few.Median, few.Unit), fewNetworks, format(many.Median, many.Unit),
			manyNetworks), many.Median <= 1.2*few.Median
	}
}

// judge compares what was measured with the targets.
func (r *report) judge() {
	r.Targets = nil
	for _, t := range targets {
		measured, met := t.met(r)
		r.Targets = append(r.Targets, result{Target: t.name, Measured: measured, Met: met && measured != ""})
	}
}

func (r *report) writeTargets(text *strings.Builder) {
	text.WriteString("\n## Targets\n\n| target | measured | met |\n|---|---|---|\n")
	for _, t := range r.Targets {
		met := "no"
		switch {
		case t.Measured == "":
			met = "not measured"
		case t.Met:
			met = "yes"
		}
		fmt.Fprintf(text, "| %s | %s | %s |\n", t.Target, t.Measured, met)
	}
}
