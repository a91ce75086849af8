package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
)

// maxTogether is how many nodes are asked at the same time.
const maxTogether = 10

// onEach calls ask for each of the ordinals, many at the same time, and returns the answers in the same order.
func onEach[T any](ctx context.Context, ordinals []int32, ask func(context.Context, int32) (T, error)) ([]T, error) {
	answers, failed := each(ctx, ordinals, ask)
	return answers, errors.Join(failed...)
}

// onAll calls ask for each node of a network, and returns the answers by ordinal. What is returned beside an error is
// what the others said.
func onAll[T any](ctx context.Context, n *api.Network, ask func(context.Context, int32) (T, error)) (map[int32]T, error) {
	ordinals := ordinalsOf(n)
	answers, failed := each(ctx, ordinals, ask)
	said := map[int32]T{}
	for i, ordinal := range ordinals {
		if failed[i] == nil {
			said[ordinal] = answers[i]
		}
	}
	return said, errors.Join(failed...)
}

func each[T any](ctx context.Context, ordinals []int32, ask func(context.Context, int32) (T, error)) ([]T, []error) {
	answers, failed := make([]T, len(ordinals)), make([]error, len(ordinals))
	slots := make(chan struct{}, maxTogether)
	var all sync.WaitGroup
	for i, ordinal := range ordinals {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			answers[i], failed[i] = ask(ctx, ordinal)
		})
	}
	all.Wait()
	return answers, failed
}

// ordinalsOf are those of a network as it is declared.
func ordinalsOf(n *api.Network) (all []int32) {
	for ordinal := range n.Spec.Nodes {
		all = append(all, ordinal)
	}
	return all
}

// callNode calls a node by bitcoin-cli, and decodes the JSON that it answers.
func callNode[T any](ctx context.Context, c *client, n *api.Network, ordinal int32, args ...string) (T, error) {
	var answer T
	out, err := c.bitcoinCLI(ctx, n, ordinal, args...)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return answer, fmt.Errorf("%s: bitcoin-cli %s: %w", children.PodName(n, ordinal), args[0], err)
	}
	return answer, nil
}

// script runs a shell script in the container of a node's bitcoind. It is for what is many calls, or has to end
// whatever becomes of the plugin.
func (c *client) script(ctx context.Context, n *api.Network, ordinal int32, in io.Reader, out io.Writer, text string,
	args ...string) error {
	var errOut bytes.Buffer
	pod := children.PodName(n, ordinal)
	if err := c.exec(ctx, pod, append([]string{"sh", "-c", text, "sh"}, args...), in, out, &errOut); err != nil {
		if words := bitcoindWords(errOut.String()); words != "" {
			return fmt.Errorf("%s: %s", pod, words)
		}
		return fmt.Errorf("%s: %w", pod, err)
	}
	return nil
}

// bitcoindWords is what bitcoin-cli prints of an error, on one line: bitcoind's message, and its code.
func bitcoindWords(printed string) string {
	printed = strings.TrimSpace(printed)
	code, message, has := strings.Cut(printed, "\nerror message:\n")
	if !has {
		return oneLine(printed)
	}
	return fmt.Sprintf("%s (%s)", oneLine(message), oneLine(code))
}
