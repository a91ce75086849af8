package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

const (
	// maxLog bounds what is kept of one log, in bytes: its end.
	maxLog = 8 << 20
	// controllerName is the label by which the controller's pods are found.
	controllerName = children.LabelName + "=bitcoin-controller"
)

// reported are the kinds of children that a report has. Secrets are none of them.
var reported = []schema.GroupVersionResource{
	{Group: "apps", Version: "v1", Resource: "statefulsets"}, podsResource,
	{Version: "v1", Resource: "services"}, {Version: "v1", Resource: "configmaps"}, {Version: "v1",
		Resource: "persistentvolumeclaims"},
	{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
	{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
}

// asked are the methods of bitcoind whose answers a report has.
var asked = []string{"getpeerinfo", "getaddednodeinfo", "getchaintips", "getmempoolinfo", "getnetworkinfo",
	"getblockchaininfo"}

func newReport(c *client) *cobra.Command {
	var file, system string
	cmd := &cobra.Command{
		Use:   "report NET",
		Short: "Collect what somebody needs to help with a network, without secrets",
		Long: `Collect what somebody needs to help with a network: its objects, events and logs, and what its
nodes say of themselves.

No Secret is read. Lines with credentials or their hashes are redacted. What can't be read is
listed in the report, and no failure.`,
		Example: `  kubectl btcnet report my-network
  kubectl btcnet report my-network -f report.tar.gz`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.connect(); err != nil {
				return err
			}
			object, err := c.read(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			b := &bundle{client: c, files: map[string]string{}}
			if err := b.collect(cmd.Context(), object, system); err != nil {
				return err
			}
			if err := cmd.Context().Err(); err != nil {
				return err
			}
			slices.Sort(b.missing)
			for _, missing := range b.missing {
				fmt.Fprintln(c.streams.ErrOut, "not read:", missing)
			}
			if file == "" {
				file = fmt.Sprintf("%s-%s.tar.gz", args[0], time.Now().UTC().Format("20060102-150405"))
			}
			packed, err := b.pack(args[0], time.Now())
			if err != nil {
				return err
			}
			if err := os.WriteFile(file, packed, 0o600); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.streams.Out, "%s: %d files, %d kB\n", file, len(b.files), (len(packed)+999)/1000)
			return err
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "where it is written; NET-TIME.tar.gz without it")
	cmd.Flags().StringVar(&system, "controller-namespace", "bitcoin-controller",
		"the namespace of the controller, for its log")
	return cmd
}

// bundle is what is in a report.
type bundle struct {
	*client
	lock sync.Mutex
	// files are texts by path, without credentials. missing is what could not be read.
	files   map[string]string
	missing []string
}

// add puts a text into the bundle, or says that it could not be read.
func (b *bundle) add(path, text string, err error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	if err != nil {
		b.missing = append(b.missing, redact(fmt.Sprintf("%s: %s", path, oneLine(err.Error()))))
		return
	}
	b.files[path] = redact(text)
}

// addObject puts an object, or a list, into the bundle.
func (b *bundle) addObject(path string, object map[string]any, err error) {
	if err != nil {
		b.add(path, "", err)
		return
	}
	redactObject(object)
	text, err := yaml.Marshal(object)
	b.add(path, string(text), err)
}

// collect fills the bundle.
func (b *bundle) collect(ctx context.Context, object *unstructured.Unstructured, system string) error {
	n, err := fromUnstructured(object)
	if err != nil {
		return err
	}
	b.add("version.txt", "kubectl-btcnet "+version+"\n", nil)
	b.addObject("network.yaml", object.Object, nil)
	ours := labels.SelectorFromSet(children.SelectorLabels(n)).String()
	for _, resource := range reported {
		b.list(ctx, resource.Resource+".yaml", resource, b.namespace, ours)
	}
	b.events(ctx, n)
	b.nodes(ctx, n)
	b.controller(ctx, system)
	return nil
}

// list adds the objects of a kind that have labels, and returns them.
func (b *bundle) list(ctx context.Context, path string, resource schema.GroupVersionResource, namespace,
	selector string) []unstructured.Unstructured {
	list, err := b.all.Resource(resource).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		b.add(path, "", err)
		return nil
	}
	b.addObject(path, list.UnstructuredContent(), nil)
	return list.Items
}

// events adds those of the network and of what is called after it.
func (b *bundle) events(ctx context.Context, n *api.Network) {
	list, err := b.all.Resource(schema.GroupVersionResource{Version: "v1", Resource: "events"}).Namespace(b.namespace).
		List(ctx, metav1.ListOptions{})
	if err != nil {
		b.add("events.yaml", "", err)
		return
	}
	var of []unstructured.Unstructured
	for _, event := range list.Items {
		name, _, _ := unstructured.NestedString(event.Object, "involvedObject", "name")
		if name == n.Name || strings.HasPrefix(name, n.Name+"-") || strings.HasPrefix(name,
			"data-"+children.StatefulSetName(n)+"-") {
			of = append(of, event)
		}
	}
	list.Items = of
	b.addObject("events.yaml", list.UnstructuredContent(), nil)
}

// nodes adds what nodes say, and their logs.
func (b *bundle) nodes(ctx context.Context, n *api.Network) {
	each(ctx, ordinalsOf(n), func(ctx context.Context, ordinal int32) (struct{}, error) {
		pod := children.PodName(n, ordinal)
		for _, method := range asked {
			answer, err := b.bitcoinCLI(ctx, n, ordinal, method)
			b.add("nodes/"+pod+"/"+method+".json", answer+"\n", err)
		}
		b.logs(ctx, "nodes/"+pod+"/", b.namespace, pod, children.Container)
		return struct{}{}, nil // what could not be read is in the bundle
	})
}

// logs adds the log of a container, and that of the one before if there was one.
func (b *bundle) logs(ctx context.Context, path, namespace, pod, container string) {
	for name, previous := range map[string]string{"log": "false", "previous.log": "true"} {
		log, err := b.core.Get().Resource("pods").Namespace(namespace).Name(pod).SubResource("log").Param("container", container).
			Param("timestamps", "true").Param("previous", previous).Stream(ctx)
		if err != nil && previous == "true" && strings.Contains(err.Error(), "previous terminated container") {
			continue // it is the first
		}
		var text string
		if err == nil {
			text, err = lastOf(log, maxLog)
			err = errors.Join(err, log.Close())
		}
		b.add(path+name, text, err)
	}
}

// lastOf reads a text to its end, and returns whole lines of so many bytes from there.
func lastOf(in io.Reader, limit int) (string, error) {
	var kept []byte
	cut := false
	for part := make([]byte, 1<<16); ; {
		read, err := in.Read(part)
		if kept = append(kept, part[:read]...); len(kept) > 2*limit {
			kept, cut = append([]byte(nil), kept[len(kept)-limit:]...), true
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
	}
	if len(kept) > limit {
		kept, cut = kept[len(kept)-limit:], true
	}
	if cut {
		_, rest, _ := bytes.Cut(kept, []byte("\n"))
		return "(what was before is left out)\n" + string(rest), nil
	}
	return string(kept), nil
}

// controller adds its deployment, which tells its version, and its logs.
func (b *bundle) controller(ctx context.Context, namespace string) {
	b.list(ctx, "controller/deployments.yaml", schema.GroupVersionResource{Group: "apps", Version: "v1",
		Resource: "deployments"}, namespace, controllerName)
	for _, pod := range b.list(ctx, "controller/pods.yaml", podsResource, namespace, controllerName) {
		containers, _, err := unstructured.NestedSlice(pod.Object, "spec", "containers")
		if err != nil {
			b.add("controller/"+pod.GetName()+"/log", "", err)
		}
		for _, container := range containers {
			if fields, is := container.(map[string]any); is {
				name, _ := fields["name"].(string)
				b.logs(ctx, "controller/"+pod.GetName()+"/"+name+".", namespace, pod.GetName(), name)
			}
		}
	}
}

// pack is the bundle as a compressed archive.
func (b *bundle) pack(name string, now time.Time) ([]byte, error) {
	if b.missing != nil {
		b.files["not-read.txt"] = strings.Join(b.missing, "\n") + "\n"
	}
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	archive := tar.NewWriter(compressed)
	for _, path := range slices.Sorted(maps.Keys(b.files)) {
		header := &tar.Header{Name: name + "-report/" + path, Mode: 0o600, Size: int64(len(b.files[path])), ModTime: now}
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := archive.Write([]byte(b.files[path])); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(archive.Close(), compressed.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
