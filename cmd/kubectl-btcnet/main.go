// Command kubectl-btcnet is a plugin of kubectl for BitcoinNetworks: `kubectl btcnet`. It needs no credentials but
// those of the user's kubeconfig: bitcoind is spoken to by bitcoin-cli in its own pod.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/klog/v2"
)

// version is set by the linker for releases.
var version = "unknown"

// Exit codes besides 0: what was asked for did not come in time, or something else went wrong.
const (
	exitFailed  = 1
	exitTimeout = 3
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// client-go logs connections that end with the command; what matters is in errors.
	klog.SetLogger(zapr.NewLogger(zap.NewNop()))
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	if err := newCommand(streams).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", explained(err))
		stop()
		os.Exit(exitCode(err))
	}
}

// explained adds what to do where there is no cluster.
func explained(err error) error {
	if failed, is := errors.AsType[*url.Error](err); is && !failed.Timeout() && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w; if it is another cluster that you mean: --context, --kubeconfig", err)
	}
	return err
}

func exitCode(err error) int {
	if errors.Is(err, errTimeout) {
		return exitTimeout
	}
	if ended, is := errors.AsType[*exec.ExitError](err); is && ended.ExitCode() > 0 {
		return ended.ExitCode() // of a command that the user had run
	}
	return exitFailed
}
