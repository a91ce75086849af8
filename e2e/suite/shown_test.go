//go:build e2e

package suite

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// TestNoPasswordIsShown puts marked passwords into every place that takes one, good ones and bad ones, has the
// controller work with them and replace those that it derived, and then looks for all of them in what was recorded.
// First it plants a mark of its own, and looks for that.
func TestNoPasswordIsShown(t *testing.T) {
	t.Parallel()
	n := networkIn(namespace(t), "planted-"+strings.ToLower(rand.Text()))
	n.mayReadSecret(t)
	n.applySpec(t, "nodes: 2, secret: mine")
	n.saysOfSecret(t, api.ReasonSecretNotFound)

	secrets := []secret{
		{"a password beside a malformed user", "my:user", "canary-" + rand.Text()},
		{"a password with a line feed", "my-user", "canary-" + rand.Text() + "\n"},
		{"a short password", "my-user", rand.Text()[:12]},
		{"a good password", "my-user", "canary-" + rand.Text()},
	}
	for i, reason := range []string{api.ReasonSecretInvalid, api.ReasonSecretInvalid, "", ""} {
		n.putSecret(t, secrets[i])
		// A new generation has the Secret read at once.
		n.applySpec(t, "nodes: 2, secret: mine, networkPolicy: "+[]string{"Disabled", "Enabled"}[i%2])
		n.saysOfSecret(t, reason)
	}
	n.settles(t, 2)
	secrets = append(secrets, n.passwords(t, 1)...)

	n.kill(t, 1)
	n.rotate(t, 2)
	n.settles(t, 2)
	secrets = append(secrets, n.passwords(t, 2)...)
	n.showsNone(t, secrets)
}

// TestNoPasswordIsShownByAControllerThatIsAborted is the same of the stacks that Go prints then, and of the one
// controller that follows.
func TestNoPasswordIsShownByAControllerThatIsAborted(t *testing.T) {
	n := networkIn(namespace(t), "planted-"+strings.ToLower(rand.Text()))
	n.mayReadSecret(t)
	own := secret{"a good password", "my-user", "canary-" + rand.Text()}
	n.putSecret(t, own)
	n.applySpec(t, "nodes: 2, secret: mine")
	n.settles(t, 2)
	n.kill(t, 1)
	abortController(t)
	n.settles(t, 2)
	n.showsNone(t, append(n.passwords(t, 1), own))
}

// showsNone looks for secrets in all that was recorded, when it is sure to find what is there.
func (n network) showsNone(t *testing.T, secrets []secret) {
	t.Helper()
	n.plant(t)
	for i, s := range secrets {
		secrets[i].value = strings.TrimSpace(s.value)
	}
	if hits, err := recorded.search(secrets...); err != nil || hits != nil {
		t.Errorf("%s, %v", strings.Join(hits, "\n"), err)
	}
}

// plant has the name of the network shown wherever it belongs, and in base64 at the end of a long line in the log of a
// node, and waits until the search finds it in all these places.
func (n network) plant(t *testing.T) {
	t.Helper()
	n.atBitcoind(t, 0, "(head -c 2000000 /dev/zero | tr '\\0' x; echo -n "+n.Name+" | base64) >$process/fd/1")
	event := kube.Kubectl(t, "get", "events", "--namespace", n.Namespace,
		"--field-selector=involvedObject.kind=BitcoinNetwork", "-o", "jsonpath={.items[0].metadata.name}")
	kube.Eventually(t, "the metrics tell of "+n.Name, func(ctx context.Context) error {
		if err := recorded.metrics(ctx); err != nil {
			return err
		}
		return recorded.has(n.Name, "metrics")
	})
	for _, source := range []string{
		"events " + n.Namespace + "/" + event,
		"bitcoinnetworks " + n.Namespace + "/" + n.Name,
		"configmaps " + n.Namespace + "/" + n.Name + "-config",
		"pods " + n.Namespace + "/" + n.PodName(0),
		"statefulsets " + n.Namespace + "/" + n.Name + "-sts",
		"log of " + n.Namespace + "/" + n.PodName(0) + " bitcoind",
	} {
		kube.Eventually(t, source, func(context.Context) error { return recorded.has(n.Name, source) })
	}
}

// has is nil if the text was found in what was recorded from the source.
func (r *recording) has(text, source string) error {
	hits, err := r.search(secret{what: "it", value: text})
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(hits, func(hit string) bool { return strings.HasSuffix(hit, " is in "+source) }) {
		return fmt.Errorf("it is not in %s, but in %v", source, hits)
	}
	return nil
}

// nothingShown looks for the passwords of all networks that there were while the suite ran, and for what they are
// derived from.
func nothingShown(ctx context.Context) error {
	missed := errors.Join(recorded.whole(ctx), recorded.metrics(ctx))
	key := masterKey(ctx)
	if key == nil {
		return errors.New("look for passwords: the master key can't be read")
	}
	secrets := []secret{{"the master key", "", string(key)}}
	for uid, name := range recorded.seen() {
		for generation := range int64(3) {
			secrets = append(secrets, derived(key, name, uid, generation+1)...)
		}
	}
	hits, err := recorded.search(secrets...)
	if err == nil && hits != nil {
		err = errors.New("passwords are shown:\n" + strings.Join(hits, "\n"))
	}
	return errors.Join(err, missed)
}
