package admission

import "testing"

func testZMQ(t *testing.T, judge Judge) {
	const both = "with zmq, config must not hold zmqpub lines"
	for name, row := range map[string]struct{ spec, want string }{
		"by itself":                   {"zmq: true", ""},
		"beside lines of one's own":   {`zmq: true, config: "zmqpubrawblock=tcp://0.0.0.0:28332"`, both},
		"beside any of them":          {`zmq: true, config: "txindex=1\n zmqpubhashtx=tcp://0.0.0.0:1"`, both},
		"lines of one's own":          {`config: "zmqpubrawblock=tcp://0.0.0.0:28332"`, ""},
		"switched off beside them":    {`zmq: false, config: "zmqpubrawblock=tcp://0.0.0.0:28332"`, ""},
		"beside lines of other kinds": {`zmq: true, config: "txindex=1\n# zmqpub"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			answered(t, judge.Create(parse(t, "metadata: {name: net}, spec: {nodes: 1, "+row.spec+"}")), row.want)
		})
	}
}
