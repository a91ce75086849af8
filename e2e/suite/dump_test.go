//go:build e2e

package suite

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/cluster"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// dumper writes what there is to know about the cluster after a test failed: the state of its objects, the logs of
// pods and of the node. What it can't get it names, and goes on: half of a dump is better than none.
type dumper struct {
	ctx    context.Context
	folder string
}

// dump writes into the folder that E2E_DUMP names, or else into a new one, what is there after a failed run, and prints
// what one looks at first. TestMain calls it before the namespaces of failed tests can be gone.
func dump(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	folder, err := dumpFolder()
	if err != nil {
		log.Printf("dump: %v", err)
		return
	}
	d := dumper{ctx, folder}
	networks := api.Resource.Resource + "." + api.Resource.Group
	d.write("objects.txt", "kubectl", "get", "nodes,all,configmaps,endpointslices,leases", "-A", "-o", "wide")
	d.write("objects.yaml", "kubectl", "get", "statefulsets,services,pods,deployments", "-A", "-o", "yaml")
	d.write("networks.yaml", "kubectl", "get", networks, "-A", "-o", "yaml")
	listed := d.write("networks.txt", "kubectl", "get", networks, "-A", "-o", "wide")
	pods := d.write("pods.txt", "kubectl", "get", "pods", "-A", "-o", "wide")
	events := d.write("events.txt", "kubectl", "get", "events", "-A", "--sort-by", ".lastTimestamp")
	controller := d.logs()
	d.nodes()

	fmt.Println("---- networks and pods")
	fmt.Print(listed, lines(pods, 40, func(line string) bool { return !strings.HasPrefix(line, "kube-system ") }))
	fmt.Println("---- events, the last 20 that are not Normal")
	fmt.Print(lines(events, -20, func(line string) bool { return !strings.Contains(line, " Normal ") }))
	fmt.Println("---- the controller's last 60 lines")
	fmt.Print(lines(controller, -60, func(string) bool { return true }))
	fmt.Println("---- all of it:", folder)
}

func dumpFolder() (string, error) {
	folder := os.Getenv("E2E_DUMP")
	if folder == "" {
		return os.MkdirTemp("", "bitcoin-controller-failed-")
	}
	// An older failure's files would be taken for this one's.
	if err := os.RemoveAll(folder); err != nil {
		return "", err
	}
	return folder, os.MkdirAll(folder, 0o755)
}

// logs writes what containers printed, also before they were restarted, and returns what the controller did.
func (d dumper) logs() string {
	names := d.output("kubectl", "get", "pods", "-A",
		"-o", `jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}{"\n"}{end}`)
	var controller strings.Builder
	for _, name := range strings.Fields(names) {
		namespace, pod, _ := strings.Cut(name, "/")
		file := namespace + "." + pod
		arguments := []string{"logs", "-n", namespace, pod, "--all-containers", "--tail", "5000"}
		printed := d.write(file+".log", "kubectl", arguments...)
		if namespace == cluster.SystemNamespace {
			controller.WriteString(printed)
		}
		restarts := d.output("kubectl", "get", "pod", "-n", namespace, pod,
			"-o", "jsonpath={.status.containerStatuses[*].restartCount}")
		if strings.Trim(restarts, "0 ") != "" {
			d.write(file+".previous.log", "kubectl", append(arguments, "--previous")...)
		}
	}
	return controller.String()
}

// nodes writes the journal of nodes that are containers of this machine's engine, as kind's are. Nothing is known of
// other ones.
func (d dumper) nodes() {
	for _, node := range strings.Fields(d.output("kubectl", "get", "nodes", "-o",
		"jsonpath={.items[*].metadata.name}")) {
		if exec.CommandContext(d.ctx, "docker", "inspect", node).Run() != nil {
			continue
		}
		d.write(node+".log", "docker", "exec", node,
			"journalctl", "-u", "kubelet", "-u", "containerd", "-n", "2000", "--no-pager")
	}
}

// write keeps what a command prints in a file of the folder, and returns it.
func (d dumper) write(file, command string, arguments ...string) string {
	printed := d.output(command, arguments...)
	if printed == "" {
		return ""
	}
	if err := os.WriteFile(filepath.Join(d.folder, file), []byte(printed), 0o644); err != nil {
		log.Printf("dump: %v", err)
	}
	return printed
}

func (d dumper) output(command string, arguments ...string) string {
	var stderr strings.Builder
	cmd := exec.CommandContext(d.ctx, command, arguments...)
	cmd.Stderr = &stderr
	printed, err := cmd.Output()
	if err != nil {
		log.Printf("dump: %s %s: %v: %s", command, strings.Join(arguments, " "), err,
			strings.TrimSpace(stderr.String()))
	}
	return string(printed)
}

// lines is the first of the lines that match, or the last if their number is negative.
func lines(text string, number int, match func(string) bool) string {
	var matching []string
	for line := range strings.Lines(text) {
		if match(line) {
			matching = append(matching, line)
		}
	}
	if number < 0 {
		return strings.Join(matching[max(0, len(matching)+number):], "")
	}
	return strings.Join(matching[:min(number, len(matching))], "")
}
