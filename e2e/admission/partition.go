package admission

import "testing"

func testPartition(t *testing.T, judge Judge) {
	for name, row := range map[string]struct{ partition, want string }{
		"two sides":                {"sides: [{nodes: [0, 1]}, {nodes: [2]}]", ""},
		"one, and the rest":        {"sides: [{nodes: [2]}]", ""},
		"until a time elsewhere":   {`sides: [{nodes: [2]}], until: "2026-12-01T12:00:00.5+14:00"`, ""},
		"until a time":             {`sides: [{nodes: [2]}], until: "2026-12-01T12:00:00Z"`, ""},
		"no side":                  {"sides: []", "should have at least 1 items"},
		"a side of nobody":         {"sides: [{nodes: []}]", "should have at least 1 items"},
		"an ordinal beyond nodes":  {"sides: [{nodes: [3]}]", "partition names an ordinal that is none"},
		"a negative one":           {"sides: [{nodes: [-1]}]", "should be greater than or equal to 0"},
		"one on two sides":         {"sides: [{nodes: [0, 1]}, {nodes: [1]}]", "partition has a node on two sides"},
		"one twice on one":         {"sides: [{nodes: [0, 0]}]", "Duplicate value"},
		"a list of times":          {"sides: [{nodes: [2]}], until: []", "spec.partition.until"},
		"a day that is none":       {`sides: [{nodes: [2]}], until: "2026-02-30T12:00:00Z"`, "spec.partition.until"},
		"a time that is no time":   {"sides: [{nodes: [2]}], until: tomorrow", "until"},
		"sides that are not there": {`until: "2026-12-01T12:00:00Z"`, "sides: Required value"},
	} {
		t.Run(name, func(t *testing.T) {
			answered(t, judge.Create(parse(t, "metadata: {name: net}, spec: {nodes: 3, partition: {"+row.partition+"}}")), row.want)
		})
	}
}
