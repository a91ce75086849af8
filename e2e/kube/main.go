// Command kube is Kubernetes in one binary: etcd, the control plane, kubelet, kube-proxy, kubeadm and kubectl.
//
// Where no image registry can be reached there is no release to download either, so a cluster has to be built from Go
// modules. The components share nearly all of their code: linked into one program they take a fraction of the disk and of
// the linking, one layer of one image holds them all, and the integration tests start the same program as plain
// processes. Which component it is says the name it was called by, so links named kubectl or etcd are all it takes; a
// call by any other name takes the component as its first argument.
//
// It is a module of its own because k8s.io/kubernetes needs replace lines that must not touch the controller's go.mod.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubeadm "k8s.io/kubernetes/cmd/kubeadm/app/cmd"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// components are built on demand: constructing one registers its flags and feature gates for the whole process.
var components = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-proxy":              proxy.NewProxyCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubeadm":                 func() *cobra.Command { return kubeadm.NewKubeadmCommand(os.Stdin, os.Stdout, os.Stderr) },
	"kubectl":                 kubectl.NewDefaultKubectlCommand,
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
}

func main() {
	name := filepath.Base(os.Args[0])
	if !known(name) && len(os.Args) > 1 {
		// kubectl and cobra look at os.Args themselves.
		os.Args = os.Args[1:]
		name = os.Args[0]
	}
	if name == "etcd" { // parses its arguments itself and exits
		etcdmain.Main(os.Args)
		return
	}
	component, ok := components[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "unknown component %q: want one of etcd, %s\n",
			name, strings.Join(slices.Sorted(maps.Keys(components)), ", "))
		os.Exit(2)
	}
	os.Exit(cli.Run(component()))
}

func known(name string) bool {
	_, ok := components[name]
	return ok || name == "etcd"
}
