// Command coredns is CoreDNS with the ten plugins of the Corefile that kubeadm writes, and no others.
//
// CoreDNS as it is released needs the clients of several clouds, over a thousand packages that Kubernetes doesn't. This
// one is a package of the module of Kubernetes, and so is built on the same client-go: it shares all but about 90 of
// its packages. go.mod requires the release that kubeadm asks for. CoreDNS ends at start with a Corefile that names
// another plugin, so a newer kubeadm which needs one is noticed in the first cluster.
package main

import (
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics" // whose name in a Corefile is prometheus
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
)

func main() {
	coremain.Run()
}
