package reconcile

import (
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/internal/testworld"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/mesh"
)

// run runs the program as the pod of a node with that address does, but for where it listens besides: here all have the
// same loopback interface, where one alone can have 127.0.0.1.
func run(t *testing.T, program string, n *api.Network, ip netip.Addr) {
	t.Helper()
	dir := t.TempDir()
	conf := children.BitcoinConf(n, authConfigOf(n))
	if ip.Is4() {
		conf = strings.Replace(conf, "rpcbind=127.0.0.1\n", "", 1)
	}
	if err := os.WriteFile(filepath.Join(dir, children.ConfigFile), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-datadir=" + dir, "-bind=" + netip.AddrPortFrom(ip, api.P2PPort).String()}
	for _, arg := range children.BitcoindContainer(n, "").Command[1:] {
		args = append(args, strings.ReplaceAll(arg, "$("+children.PodIP+")", ip.String()))
	}
	var log bytes.Buffer
	bitcoind := exec.Command(program, args...)
	bitcoind.Stdout, bitcoind.Stderr = &log, &log
	if err := bitcoind.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = bitcoind.Process.Signal(syscall.SIGTERM) // that it has gone is seen below
		_ = bitcoind.Wait()
		if t.Failed() {
			t.Logf("%s: %s", ip, lastLogLine(log.String()))
		}
	})
}

// TestBitcoindsOfEitherFamilyAreMeshed runs wherever BITCOIND names the program.
func TestBitcoindsOfEitherFamilyAreMeshed(t *testing.T) {
	program := os.Getenv("BITCOIND")
	if program == "" {
		t.Skip("BITCOIND names no program")
	}
	n := network(2)
	login := mesh.Login(testKey.Login(controllerUser, n.UID, 1))
	w := &world{World: testworld.At(login, netip.MustParseAddr("::1"), netip.MustParseAddr("127.77.0.1"))}
	w.Network = n
	for _, ip := range w.IPs {
		run(t, program, n, ip)
	}
	w.AllReady()
	c := w.controller(t)
	pass := func(what string, done func(observation) bool) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Minute); ; {
			o, again := c.pass(t, w)
			if done(o) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("never: %s; the nodes are %+v", what, o.nodes)
			}
			time.Sleep(100 * time.Millisecond)
			w.Advance(again)
		}
	}
	dialled := func(o observation, from, to int) bool { return o.nodes[from].view.Peers[w.IPs[to]] }
	pass("both have dialled each other", func(o observation) bool { return dialled(o, 0, 1) && dialled(o, 1, 0) })

	n.Spec.Nodes = 1
	pass("the one that is left has forgotten the other", func(o observation) bool {
		return o.nodes[0].view.Answered() && len(o.nodes[0].view.Peers) == 0
	})
}
