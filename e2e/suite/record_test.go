//go:build e2e

package suite

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// recording is what the cluster shows while the suite runs to everybody but the readers of Secrets: each version of
// each object, and what all containers print but Kubernetes' own. No password may be in it.
type recording struct {
	host string
	http *http.Client

	mutex    sync.Mutex
	file     *os.File
	followed map[string]bool      // logs, by their URL and container ID
	networks map[types.UID]string // by UID, their namespace and name
	missed   map[string]error
}

// record starts the recording, which goes on until ctx ends.
func record(ctx context.Context, config *rest.Config) (*recording, error) {
	web, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "recording-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil { // it goes with the process
		return nil, err
	}
	r := &recording{host: config.Host, http: web, file: file, followed: map[string]bool{},
		networks: map[types.UID]string{}, missed: map[string]error{}}
	resources, err := watchable(config)
	if err != nil {
		return nil, err
	}
	factory := dynamicinformer.NewDynamicSharedInformerFactory(kube, 0)
	for _, resource := range resources {
		note := func(object any) {
			if u, ok := object.(*unstructured.Unstructured); ok {
				r.note(ctx, resource, u)
			}
		}
		handler := cache.ResourceEventHandlerFuncs{AddFunc: note, UpdateFunc: func(_, after any) { note(after) }}
		if _, err := factory.ForResource(resource).Informer().AddEventHandler(handler); err != nil {
			return nil, err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	return r, nil
}

// watchable are all resources of the cluster but Secrets.
func watchable(config *rest.Config) ([]schema.GroupVersionResource, error) {
	return cluster.Resources(config, func(resource *metav1.APIResource) bool {
		return resource.Name != "secrets" && slices.Contains(resource.Verbs, "watch")
	})
}

func (r *recording) note(ctx context.Context, resource schema.GroupVersionResource, u *unstructured.Unstructured) {
	source := resource.Resource + " " + u.GetNamespace() + "/" + u.GetName()
	text, err := json.Marshal(u.Object)
	if err != nil {
		r.miss(source, err)
	}
	r.write(source, text)
	switch resource {
	case api.Resource:
		r.mutex.Lock()
		defer r.mutex.Unlock()
		r.networks[u.GetUID()] = u.GetNamespace() + "/" + u.GetName()
	case cluster.Pods:
		if u.GetNamespace() != "kube-system" {
			r.followPod(ctx, u)
		}
	}
}

func (r *recording) write(source string, text []byte) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if _, err := fmt.Fprintf(r.file, "%s: %s\n", source, bytes.TrimSpace(text)); err != nil {
		r.missed[source] = fmt.Errorf("record %s: %w", source, err)
	}
}

// followPod reads the logs of each run of each container, while it prints them.
func (r *recording) followPod(ctx context.Context, u *unstructured.Unstructured) {
	pod, err := unstructuredx.Into[corev1.Pod](u)
	if err != nil {
		r.miss("logs of "+u.GetNamespace()+"/"+u.GetName(), err)
		return
	}
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses,
		pod.Status.EphemeralContainerStatuses) {
		if status.State.Running != nil || status.State.Terminated != nil {
			r.follow(ctx, pod, status.Name, status.ContainerID, false)
		}
		if last := status.LastTerminationState.Terminated; last != nil {
			r.follow(ctx, pod, status.Name, last.ContainerID, true)
		}
	}
}

func (r *recording) follow(ctx context.Context, pod *corev1.Pod, container, id string, previous bool) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	// A log that has been followed to its end is read once more when the next run has begun: its end may have been
	// missed.
	key := fmt.Sprint(id, previous)
	if r.followed[key] {
		return
	}
	r.followed[key] = true
	query := url.Values{"container": {container}, "follow": {fmt.Sprint(!previous)}, "previous": {fmt.Sprint(previous)}}
	address := fmt.Sprintf("%s/api/v1/namespaces/%s/pods/%s/log?%s", r.host, pod.Namespace, pod.Name, query.Encode())
	source := fmt.Sprintf("log of %s/%s %s", pod.Namespace, pod.Name, container)
	// A container that goes has no log any more, some time before its pod has gone; and what broke off is read anew.
	go func() {
		_ = wait.PollUntilContextCancel(ctx, time.Second, true, func(ctx context.Context) (bool, error) {
			err := r.readLog(ctx, source, address, func() { r.miss(source+" "+key, nil) })
			r.miss(source+" "+key, err)
			return err == nil, nil
		})
	}()
}

// readLog records a log to its end, with lines of any length. It calls begun when the log is there, from its beginning:
// what broke off before is missed no more, though the end of the log of a container that runs may never come.
func (r *recording) readLog(ctx context.Context, source, address string, begun func()) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := r.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotFound {
		return nil // its pod went first
	}
	if response.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
		return errors.Join(fmt.Errorf("%s: %s", response.Status, text), err)
	}
	begun()
	for lines := bufio.NewReader(response.Body); ; {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			r.write(source, line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// metrics records what the controllers export at the moment.
func (r *recording) metrics(ctx context.Context) error {
	pods, err := kube.Resource(cluster.Pods).Namespace(cluster.SystemNamespace).List(ctx,
		metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=bitcoin-controller"})
	if err != nil {
		return fmt.Errorf("list controllers: %w", err)
	}
	for _, pod := range pods.Items {
		if pod.GetDeletionTimestamp() != nil {
			continue
		}
		page, err := kube.Run(ctx, "", "get", "--raw",
			"/api/v1/namespaces/"+pod.GetNamespace()+"/pods/"+pod.GetName()+":8080/proxy/metrics")
		if err != nil {
			return err
		}
		for line := range strings.Lines(page) {
			r.write("metrics", []byte(line))
		}
	}
	return nil
}

// miss notes why something was not recorded, or that it was after all: that nothing was found in the rest says nothing.
func (r *recording) miss(what string, err error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	delete(r.missed, what)
	if err != nil {
		r.missed[what] = fmt.Errorf("record %s: %w", what, err)
	}
}

// whole waits until all is recorded that was to be, and tells what is not in time.
func (r *recording) whole(ctx context.Context) (missed error) {
	_ = wait.PollUntilContextTimeout(ctx, time.Second, cluster.Patience, true, func(context.Context) (bool, error) {
		r.mutex.Lock()
		defer r.mutex.Unlock()
		missed = errors.Join(slices.Collect(maps.Values(r.missed))...)
		return missed == nil, nil
	})
	return missed
}

// seen are the networks that there were, as namespace and name, by UID.
func (r *recording) seen() map[types.UID]string {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return maps.Clone(r.networks)
}

// search returns where the secrets were recorded, each place once, and nothing of the secrets.
func (r *recording) search(secrets ...secret) ([]string, error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	info, err := r.file.Stat()
	if err != nil {
		return nil, err
	}
	text := make([]byte, info.Size())
	if _, err := r.file.ReadAt(text, 0); err != nil {
		return nil, err
	}
	var hits []string
	for _, secret := range secrets {
		for name, form := range secret.forms() {
			for rest := text; ; {
				at := bytes.Index(rest, []byte(form))
				if at < 0 {
					break
				}
				source, _, _ := bytes.Cut(rest[bytes.LastIndexByte(rest[:at], '\n')+1:], []byte(": "))
				hits = append(hits, fmt.Sprintf("%s, %s, is in %s", secret.what, name, source))
				rest = rest[at+bytes.IndexByte(rest[at:], '\n'):]
			}
		}
	}
	slices.Sort(hits)
	return slices.Compact(hits), nil
}
