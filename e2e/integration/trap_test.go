//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/rpc/rpctest"
)

// letsIn says whether a node of the network would accept a user and password.
func (n network) letsIn(t *testing.T, with login) bool {
	t.Helper()
	conf, err := kube.Resource(cluster.ConfigMaps).Namespace(n.Namespace).Get(t.Context(), n.Name+"-config",
		metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	text, _, err := unstructured.NestedString(conf.Object, "data", "bitcoin.conf")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		value, found := strings.CutPrefix(strings.TrimSpace(line), "rpcauth="+with.user+":")
		salt, _, _ := strings.Cut(value, "$")
		if found && rpctest.RPCAuth(with.user, with.password, salt) == with.user+":"+value {
			return true
		}
	}
	return false
}

// trap listens where a bitcoind would, lets nobody in, and remembers who came.
type trap struct {
	ip    string
	mutex sync.Mutex
	dials int
	all   int
	came  map[login]bool
}

type login struct{ user, password string }

// newTraps listens on each address as soon as it is free, until the test ends: other tests may be running on this
// machine.
func newTraps(t *testing.T, ips ...string) (traps []*trap) {
	t.Helper()
	for _, ip := range ips {
		trap := &trap{ip: ip, came: map[login]bool{}}
		var listener net.Listener
		kube.Eventually(t, "listen on "+ip, func(context.Context) (err error) {
			listener, err = net.Listen("tcp", net.JoinHostPort(ip, fmt.Sprint(rpctest.RPCPort)))
			return err
		})
		server := &http.Server{Handler: trap, ConnState: trap.connection}
		done := make(chan error)
		go func() { done <- server.Serve(listener) }()
		t.Cleanup(func() {
			if err := errors.Join(server.Close(), ignoreClosed(<-done)); err != nil {
				t.Error(err)
			}
		})
		traps = append(traps, trap)
	}
	return traps
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// freeLoopback is an address apart from those of the fake nodes.
func freeLoopback() string {
	return net.IPv4(127, byte(1+rand.IntN(60)), byte(rand.IntN(256)), byte(1+rand.IntN(250))).String()
}

func (tr *trap) connection(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		tr.mutex.Lock()
		defer tr.mutex.Unlock()
		tr.dials++
	}
}

func (tr *trap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	tr.mutex.Lock()
	defer tr.mutex.Unlock()
	tr.all++
	tr.came[login{user, password}] = true
	w.WriteHeader(http.StatusUnauthorized)
}

func (tr *trap) connections() int {
	tr.mutex.Lock()
	defer tr.mutex.Unlock()
	return tr.dials
}

func (tr *trap) requests() int {
	tr.mutex.Lock()
	defer tr.mutex.Unlock()
	return tr.all
}

func (tr *trap) passwords() []login {
	tr.mutex.Lock()
	defer tr.mutex.Unlock()
	return slices.Collect(maps.Keys(tr.came))
}
