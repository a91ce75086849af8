package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

// podsResource is what the apiserver calls pods.
var podsResource = schema.GroupVersionResource{Version: "v1", Resource: "pods"}

// lookEvery is how often pods are looked for that came up or were replaced while logs are followed.
const lookEvery = time.Second

// logOptions are which lines are wanted.
type logOptions struct {
	grep  *regexp.Regexp
	since time.Duration
	tail  int64
}

func newLogs(c *client) *cobra.Command {
	var follow bool
	var pattern string
	var options logOptions
	cmd := &cobra.Command{
		Use:   "logs NET[/ORDINAL]",
		Short: "Show the logs of all nodes, or of one, in the order of time",
		Long: `Show the logs of all nodes, or of one, each line with the name of its pod, in the order of time.

With --follow, lines come as they are written, and pods that come up later, or are replaced, are
followed, too, until Ctrl-C.`,
		Example: `  kubectl btcnet logs my-network --since 10m --grep UpdateTip
  kubectl btcnet logs my-network/2 -f`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if options.grep, err = regexp.Compile(pattern); err != nil {
				return fmt.Errorf("--grep: %w", err)
			}
			at, err := parseTarget(args[0])
			if err != nil {
				return err
			}
			at.all = at.all || !strings.Contains(args[0], "/")
			n, nodes, err := c.resolve(cmd.Context(), at)
			if err != nil {
				return err
			}
			out := &lineWriter{out: c.streams.Out, colours: newScreen(c.streams.Out, false).colours}
			if follow {
				return c.followLogs(cmd.Context(), n, at, options, out)
			}
			return c.showLogs(cmd.Context(), n, nodes, options, out)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with lines as they are written")
	cmd.Flags().StringVar(&pattern, "grep", "", "only lines that match a regular expression")
	cmd.Flags().DurationVar(&options.since, "since", 0, "only lines of so long ago at most, such as 10m")
	cmd.Flags().Int64Var(&options.tail, "tail", -1, "so many of the last lines of each node at most; -1 for all")
	return cmd
}

// logLine is a line of a pod's log.
type logLine struct {
	at      time.Time
	ordinal int32
	pod     string
	text    string
}

// parseLine reads a line that begins with its time, as the apiserver sends it.
func parseLine(line string) (at time.Time, text string) {
	stamp, text, _ := strings.Cut(line, " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		return time.Time{}, line // of the kubelet itself
	}
	return at, text
}

// lineWriter writes lines of many pods, each whole.
type lineWriter struct {
	lock    sync.Mutex
	out     io.Writer
	colours bool
}

func (w *lineWriter) write(line logLine) error {
	w.lock.Lock()
	defer w.lock.Unlock()
	name := line.pod
	if w.colours {
		name = fmt.Sprintf("\x1b[%dm%s\x1b[0m", 31+(line.ordinal+1)%6, name)
	}
	_, err := fmt.Fprintf(w.out, "%s %s\n", name, line.text)
	return err
}

// openLog opens the log of a pod's bitcoind.
func (c *client) openLog(ctx context.Context, pod string, options logOptions, after time.Time,
	follow bool) (io.ReadCloser, error) {
	request := c.core.Get().Resource("pods").Namespace(c.namespace).Name(pod).SubResource("log").
		Param("container", children.Container).Param("timestamps", "true").Param("follow", strconv.FormatBool(follow))
	switch {
	case !after.IsZero():
		request.Param("sinceTime", after.UTC().Format(time.RFC3339))
	case options.since > 0:
		request.Param("sinceSeconds", strconv.FormatInt(max(int64(options.since.Seconds()), 1), 10))
	}
	if options.tail >= 0 && after.IsZero() {
		request.Param("tailLines", strconv.FormatInt(options.tail, 10))
	}
	return request.Stream(ctx)
}

// eachLine calls take with the lines of a log until it ends.
func eachLine(log io.Reader, ordinal int32, pod string, take func(logLine) error) error {
	reader := bufio.NewReader(log)
	for {
		line, err := reader.ReadString('\n')
		if line = strings.TrimRight(line, "\r\n"); line != "" {
			at, text := parseLine(line)
			if err := take(logLine{at, ordinal, pod, text}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// showLogs writes what there is. A node without a log is said, and is a failure only if none has one.
func (c *client) showLogs(ctx context.Context, n *api.Network, nodes []int32, options logOptions, out *lineWriter) error {
	var all []logLine
	var failed []error
	for _, ordinal := range nodes {
		pod := children.PodName(n, ordinal)
		log, err := c.openLog(ctx, pod, options, time.Time{}, false)
		if err == nil {
			err = eachLine(log, ordinal, pod, func(line logLine) error {
				if options.grep.MatchString(line.text) {
					all = append(all, line)
				}
				return nil
			})
			err = errors.Join(err, log.Close())
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("log of %s: %w", pod, err))
		}
	}
	for _, line := range merged(all) {
		if err := out.write(line); err != nil {
			return err
		}
	}
	if len(failed) == len(nodes) {
		return errors.Join(failed...)
	}
	for _, err := range failed {
		fmt.Fprintln(c.streams.ErrOut, "not read:", err)
	}
	return nil
}

// merged are lines in the order of time. A line without a time stays behind the one before, and those of one pod in
// their order.
func merged(lines []logLine) []logLine {
	for i := range lines {
		if lines[i].at.IsZero() && i > 0 && lines[i-1].pod == lines[i].pod {
			lines[i].at = lines[i-1].at
		}
	}
	slices.SortStableFunc(lines, func(a, b logLine) int { return a.at.Compare(b.at) })
	return lines
}

// followLogs follows all pods that the target names, whenever they come, until the context ends.
func (c *client) followLogs(ctx context.Context, n *api.Network, at target, options logOptions, out *lineWriter) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var all sync.WaitGroup
	defer all.Wait()
	var lock sync.Mutex
	following, seen := map[string]bool{}, map[string]time.Time{}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		pods, err := c.all.Resource(podsResource).Namespace(c.namespace).List(ctx, metav1.ListOptions{
			LabelSelector: labels.SelectorFromSet(children.SelectorLabels(n)).String()})
		if err != nil && ctx.Err() == nil {
			if apierrors.IsForbidden(err) {
				stop(err)
				return err
			}
			fmt.Fprintln(c.streams.ErrOut, "list pods; trying again:", err)
		}
		for _, pod := range itemsOf(pods) {
			ordinal, ours := children.PodOrdinal(n, pod.GetName())
			key := string(pod.GetUID())
			lock.Lock()
			if ours && (at.all || ordinal == at.ordinal) && !following[key] {
				following[key] = true
				after := seen[key]
				all.Go(func() {
					last, err := c.followPod(ctx, pod.GetName(), ordinal, options, after, out)
					lock.Lock()
					defer lock.Unlock()
					seen[key], following[key] = last, false
					if err != nil {
						stop(err)
					}
				})
			}
			lock.Unlock()
		}
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				return cause
			}
			return nil
		case <-tick.C:
		}
	}
}

func itemsOf(list *unstructured.UnstructuredList) []unstructured.Unstructured {
	if list == nil {
		return nil
	}
	return list.Items
}

// followPod writes the lines of a pod that are later than a time, until its log ends, and returns the time of the last.
// Only what can't be written is an error: a log that can't be read is that of a container that is yet to start, or
// gone.
func (c *client) followPod(ctx context.Context, pod string, ordinal int32, options logOptions, after time.Time,
	out *lineWriter) (last time.Time, written error) {
	last = after
	log, err := c.openLog(ctx, pod, options, after, true)
	if err != nil {
		return last, nil
	}
	defer log.Close()
	err = eachLine(log, ordinal, pod, func(line logLine) error {
		if !line.at.IsZero() && !line.at.After(last) {
			return nil
		}
		if !line.at.IsZero() {
			last = line.at
		}
		if options.grep.MatchString(line.text) {
			written = out.write(line)
		}
		return written
	})
	if written == nil && err != nil && ctx.Err() == nil {
		fmt.Fprintf(c.streams.ErrOut, "log of %s; trying again: %v\n", pod, err)
	}
	return last, written
}
