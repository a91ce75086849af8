package main

import "slices"

// figure is one that is measured.
type figure struct {
	name, scenario, unit, how string
}

// figures are all that there are, in the order in which they are shown.
var figures = []figure{
	{"apply to connected", "apply", "s",
		"from the network's creation until each node is connected with each other one, or with 8 of them if " +
			"there are more, and there is a way from each to each. Where all add all, the first nodes that are ready can " +
			"take each other's 8 places, and stay apart from the rest"},
	{"apply to meshed", "apply", "s",
		"and until the controller has nothing left to do: ours says Ready, the rival's nodes have all others " +
			"on their lists"},
	{"apply pairs unconnected", "apply", "",
		"pairs without a connection when meshed, up to 17 nodes: bitcoind can have a full mesh of those, if " +
			"it is told well which end dials"},
	{"apply RPC round trips", "apply", "", "of all nodes, up to meshed"},
	{"apply API writes", "apply", "", "up to meshed, but for events and Leases, as everywhere here"},
	{"apply API reads", "apply", "", "up to meshed, but for watches, as everywhere here"},
	{"apply API bytes", "apply", "B", "bodies of both directions, up to meshed, watches included"},
	{"apply CPU", "apply", "s", "of the controller, up to meshed"},
	{"apply RSS", "apply", "B", "of the controller, when meshed"},

	{"life API writes", "life", "", "create, two nodes more, two less, a pod replaced, idle"},
	{"life API writes answered 409", "life", "", "those of them that the apiserver answered 409"},
	{"life API reads", "life", "", "in the same life"},
	{"life API events", "life", "", "in the same life, Event objects"},
	{"life API bytes", "life", "B", "in the same life, bodies of both directions, watches included"},
	{"life RPC round trips", "life", "", "in the same life, of all nodes"},
	{"life RPC round trips of changes", "life", "", "those before the idle time"},
	{"life RPC round trips idle", "life", "", "those in the idle time"},
	{"life CPU", "life", "s", "of the controller, in the same life"},

	{"fleet all meshed", "fleet", "s",
		"from the first network's creation to all meshed; the rest of the machine's work is in it"},
	{"create a network: API writes", "fleet", "", "a network, made among so many"},
	{"create a network: API reads", "fleet", "", "a network, made among so many"},
	{"create a network: API bytes", "fleet", "B", "a network, made among so many"},
	{"create a network: RPC round trips", "fleet", "", "a network, made among so many, up to steady"},
	{"create a network: CPU", "fleet", "ms", "of the controller, a network, made among so many, up to steady"},
	{"idle API calls", "fleet", "/min", "reads and writes, of all networks, long after the last change"},
	{"idle RPC round trips", "fleet", "/min", "of all networks, long after the last change"},
	{"idle CPU", "fleet", "s/min", "of the controller, long after the last change"},
	{"RSS", "fleet", "B", "of the controller that made the networks, after the idle time"},
	{"live heap", "fleet", "B", "the same, what is reachable after a collection of garbage"},
	{"Ready to re-added, p50", "fleet", "ms",
		"a node restarts; from its pod's status Ready to it and all others having each other on their lists"},
	{"Ready to re-added, p99", "fleet", "ms", "the same"},
	{"Ready to connected, p50", "fleet", "ms",
		"of every 50th of them, to a connection between each pair of the network"},
	{"Ready to connected, worst", "fleet", "ms", "the same"},
	{"pod lost to status, p50", "fleet", "ms",
		"a node fails; from its pod's status to the network's that counts one less"},
	{"pod lost to status, p99", "fleet", "ms", "the same"},
	{"churn", "fleet", "/s", "nodes that restarted, each in another network, while the next two were measured"},
	{"API writes a restart under churn", "fleet", "", "all that is written meanwhile, a node that restarted"},
	{"RPC round trips a restart under churn", "fleet", "", "all that are made meanwhile, those of audits and polls included"},
	{"CPU a restart under churn", "fleet", "ms", "of the controller, all that it does meanwhile"},
	{"Ready to re-added under churn, p50", "fleet", "ms", "as alone, in networks that nothing else happens to"},
	{"Ready to re-added under churn, p99", "fleet", "ms", "the same"},
	{"start to steady", "fleet", "s",
		"a controller starts over healthy networks, to the last of: each node asked, the last read, the last " +
			"write"},
	{"start API writes", "fleet", "", "of that start"},
	{"start API writes answered 409", "fleet", "", "those of them that the apiserver answered 409"},
	{"start API reads", "fleet", "", "of that start"},
	{"start API bytes", "fleet", "B", "of that start, watches included"},
	{"start CPU", "fleet", "s", "of the controller, up to steady"},
	{"RSS after a start", "fleet", "B", "of the controller, when steady"},
	{"RSS at the peak of a start", "fleet", "B", "the most until then"},
	{"live heap after a start", "fleet", "B", "what is reachable after a collection of garbage"},

	{"with foreign pods: start to steady", "foreign", "s",
		"a controller starts over 10 networks of 5, and so many pods of others"},
	{"with foreign pods: start API bytes", "foreign", "B", "of that start"},
	{"with foreign pods: start CPU", "foreign", "s", "of that start"},
	{"with foreign pods: RSS after a start", "foreign", "B", "of that controller"},
	{"with foreign pods: RSS at the peak of a start", "foreign", "B", "of that controller"},
	{"with foreign pods: live heap after a start", "foreign", "B", "of that controller"},
}

// slopes are figures of which it matters what one network more costs.
var slopes = []string{"idle RPC round trips", "idle CPU", "RSS", "live heap", "start CPU", "start API bytes",
	"RSS after a start", "live heap after a start"}

func figureNamed(name string) (figure, bool) {
	i := slices.IndexFunc(figures, func(f figure) bool { return f.name == name })
	if i < 0 {
		return figure{}, false
	}
	return figures[i], true
}
