package rpctest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestConformanceOfBitcoind runs the suite against real processes on loopback addresses if BITCOIND names the program
// (up to 20 at a time, three minutes).
func TestConformanceOfBitcoind(t *testing.T) {
	program := os.Getenv("BITCOIND")
	if program == "" {
		t.Skip("BITCOIND names no program")
	}
	Conformance(t, &realWorld{program: program, addresses: NewNetwork(nil), nodes: map[Endpoint]*daemon{}})
}

// realWorld runs a bitcoind for each node.
type realWorld struct {
	program   string
	addresses *Network // for nothing but free addresses
	mu        sync.Mutex
	nodes     map[Endpoint]*daemon
}

type daemon struct {
	dir string
	cmd *exec.Cmd
}

// daemonConf makes a small node without outside peers, on a loopback address of its own.
const daemonConf = `regtest=1
server=1
printtoconsole=0
nodebuglogfile=1
dnsseed=0
fixedseeds=0
discover=0
listenonion=0
natpmp=0
dbcache=4
maxmempool=5
%s[regtest]
bind=%[2]s
rpcbind=%[2]s
rpcallowip=127.0.0.0/8
`

func (w *realWorld) Start(t testing.TB, n int) []Endpoint {
	t.Helper()
	endpoints := make([]Endpoint, n)
	for i := range endpoints {
		ip := w.addresses.freeIP().String()
		d := &daemon{dir: t.TempDir()}
		conf := fmt.Sprintf(daemonConf, ConformanceConf(), ip)
		if err := os.WriteFile(filepath.Join(d.dir, "bitcoin.conf"), []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		endpoints[i] = Endpoint{URL: "http://" + net.JoinHostPort(ip, "18443"), Addr: ip}
		w.mu.Lock()
		w.nodes[endpoints[i]] = d
		w.mu.Unlock()
		w.launch(t, d)
		t.Cleanup(func() { d.stop(t) })
	}
	for _, e := range endpoints {
		w.awaitAnswer(t, e)
	}
	return endpoints
}

func (w *realWorld) Restart(t testing.TB, e Endpoint) {
	t.Helper()
	w.again(t, e, syscall.SIGTERM)
}

func (w *realWorld) Kill(t testing.TB, e Endpoint) {
	t.Helper()
	w.again(t, e, syscall.SIGKILL)
}

// again ends the process of a node by a signal and starts another one.
func (w *realWorld) again(t testing.TB, e Endpoint, by syscall.Signal) {
	t.Helper()
	w.mu.Lock()
	d := w.nodes[e]
	w.mu.Unlock()
	d.end(t, by)
	w.launch(t, d)
	w.awaitAnswer(t, e)
}

func (w *realWorld) Eventually(d time.Duration, cond func() bool) bool {
	for end := time.Now().Add(d); ; <-time.After(50 * time.Millisecond) {
		if cond() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

func (w *realWorld) launch(t testing.TB, d *daemon) {
	t.Helper()
	d.cmd = exec.Command(w.program, "-datadir="+d.dir)
	d.cmd.Stderr = os.Stderr
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (w *realWorld) awaitAnswer(t testing.TB, e Endpoint) {
	t.Helper()
	c := newRPCClient(t, e)
	answers := func() bool {
		conn, err := net.Dial("tcp", net.JoinHostPort(e.Addr, "18443"))
		if err != nil {
			return false
		}
		conn.Close()
		return c.one("getblockcount").Error == nil
	}
	if !w.Eventually(2*time.Minute, answers) {
		t.Fatalf("%s does not answer", e.URL)
	}
}

func (d *daemon) stop(t testing.TB) { d.end(t, syscall.SIGTERM) }

func (d *daemon) end(t testing.TB, by syscall.Signal) {
	if err := d.cmd.Process.Signal(by); err != nil {
		t.Errorf("stop bitcoind: %v", err)
	}
	d.cmd.Wait() // its exit status says nothing that a test asks
}
