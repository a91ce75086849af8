package rpctest

// Flavour is what differs between releases in what the fake answers. The zero Flavour in Options is Core31.
type Flavour struct {
	Name       string // in the reply to stop
	Version    int    // 290500 is 29.5.0
	Subversion string
	Threads    int // default of -rpcthreads
	WorkQueue  int // default of -rpcworkqueue

	AnyVersion   bool // takes a jsonrpc that is a number, or unknown, for 1.x
	OneXOnly     bool // answers everything in the 1.x form
	WarningsText bool // warnings are a string, not a list
}

var (
	// Knots29 is Bitcoin Knots 29.5, which the recordings were made with.
	Knots29 = Flavour{Name: "Bitcoin Knots", Version: 290500, Subversion: "/Satoshi:29.5.0/Knots:20260508/",
		Threads: 4, WorkQueue: 16, AnyVersion: true}
	// Core31 is Bitcoin Core 31.0, from its sources and release notes: the fake was not run against it.
	Core31 = Flavour{Name: "Bitcoin Core", Version: 310000, Subversion: "/Satoshi:31.0.0/",
		Threads: 16, WorkQueue: 64}
	// Core27 is the last release without JSON-RPC 2.0, from its sources.
	Core27 = Flavour{Name: "Bitcoin Core", Version: 270200, Subversion: "/Satoshi:27.2.0/",
		Threads: 4, WorkQueue: 16, AnyVersion: true, OneXOnly: true, WarningsText: true}
)
