package reconcile

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/children"
	"github.com/bitcoin-controller/bitcoin-controller/reconcile/credentials"
	"github.com/bitcoin-controller/bitcoin-controller/unstructuredx"
)

// masterKeyData is the key of the one Secret that the controller keeps, in its own namespace.
const masterKeyData = "key"

// keyMissing is for a key that is gone or broken. Raising the generation is how a user agrees to new credentials.
func keyMissing(namespace, what string) error {
	secret := namespace + "/" + credentials.KeySecret
	return credentials.KeyLostError{Message: fmt.Sprintf("Secret %s, from which all RPC passwords are derived, %s. "+
		"Restore it from a backup; or make another one: head -c %d /dev/urandom | kubectl create secret generic %s "+
		"--namespace %s --from-file=%s=/dev/stdin - and raise spec.credentials.generation of each network, "+
		"which then gets new credentials by a roll",
		secret, what, credentials.KeyBytes, credentials.KeySecret, namespace, masterKeyData)}
}

// masterKey returns the key, which is made if there is none and no network has had credentials of one: the first time.
// Of several replicas one makes it. The error is a credentials.KeyLostError if a user has to act.
func (c *Controller) masterKey(ctx context.Context) (credentials.Key, error) {
	name := cache.ObjectName{Namespace: c.options.SystemNamespace, Name: credentials.KeySecret}
	cached, err := c.caches.get(secrets, name)
	if err != nil {
		return nil, err
	}
	if cached != nil {
		return readMasterKey(cached)
	}
	client := c.client.Resource(secrets).Namespace(name.Namespace)
	// The cache may not know yet of one that has just been made.
	live, err := client.Get(ctx, name.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		inUse, listErr := c.keyInUse(ctx)
		if listErr != nil {
			return nil, listErr
		}
		if inUse {
			return nil, keyMissing(name.Namespace, "is gone")
		}
		live, err = c.makeMasterKey(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("get Secret %s: %w", name, err)
	}
	return readMasterKey(live)
}

// ofMasterKey chooses that one Secret, as its Role does.
func selectMasterKey(options *metav1.ListOptions) {
	options.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, credentials.KeySecret).String()
}

// mayReadKey is an error if the rules for that are missing, or the apiserver doesn't answer.
func (c *Controller) mayReadKey(ctx context.Context) error {
	options := metav1.ListOptions{Limit: 1}
	selectMasterKey(&options)
	_, err := c.client.Resource(secrets).Namespace(c.options.SystemNamespace).List(ctx, options)
	if apierrors.IsForbidden(err) {
		return permanentError{fmt.Errorf("not allowed to read Secret %s in namespace %s: install the RBAC rules with "+
			"`kubectl apply -k manifests`, or name the controller's namespace by --system-namespace: %w",
			credentials.KeySecret, c.options.SystemNamespace, err)}
	}
	return err
}

func (c *Controller) makeMasterKey(ctx context.Context) (*unstructured.Unstructured, error) {
	key := make([]byte, credentials.KeyBytes)
	rand.Read(key) // never fails: it would end the process
	intent, err := unstructuredx.Intent(&corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: c.options.SystemNamespace, Name: credentials.KeySecret,
			Labels: map[string]string{children.LabelName: children.Manager, children.LabelManagedBy: children.Manager},
		},
		Type: corev1.SecretTypeOpaque, Immutable: new(true),
		Data: map[string][]byte{masterKeyData: key},
	})
	if err != nil {
		return nil, err
	}
	client := c.client.Resource(secrets).Namespace(c.options.SystemNamespace)
	made, err := client.Create(ctx, intent, metav1.CreateOptions{FieldManager: children.Manager})
	if apierrors.IsAlreadyExists(err) { // another replica, or another worker of this one
		return client.Get(ctx, credentials.KeySecret, metav1.GetOptions{})
	}
	if err == nil {
		c.log.Info("made the key from which RPC passwords are derived: keep a backup of it",
			zap.String("secret", c.options.SystemNamespace+"/"+credentials.KeySecret))
	}
	return made, err
}

func readMasterKey(secret *unstructured.Unstructured) (credentials.Key, error) {
	encoded, _, err := unstructured.NestedString(secret.Object, "data", masterKeyData)
	if err != nil {
		return nil, fmt.Errorf("read Secret %s/%s: %w", secret.GetNamespace(), secret.GetName(), err)
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(key) < credentials.KeyBytes {
		what := fmt.Sprintf("holds no %d bytes or more under %q: delete it", credentials.KeyBytes, masterKeyData)
		return nil, keyMissing(secret.GetNamespace(), what)
	}
	return key, nil
}

// keyInUse says whether any network has ever had credentials of a key, whichever. Only the status of a network can
// tell: users can't write it, while children can be made up to keep an installation from making its key, or be deleted
// to have it make another one. The key is that of the controllers of other networks, too, which are not in the cache.
func (c *Controller) keyInUse(ctx context.Context) (bool, error) {
	if inUse := c.caches.keyInUse(); inUse || !c.sharded() {
		return inUse, nil
	}
	options := metav1.ListOptions{Limit: 100}
	for {
		list, err := c.client.Resource(api.Resource).Namespace(c.options.Namespace).List(ctx, options)
		if err != nil {
			return false, fmt.Errorf("list all networks, which may need a key that is gone: %w", err)
		}
		if slices.ContainsFunc(list.Items, func(u unstructured.Unstructured) bool {
			generation, _, _ := unstructured.NestedInt64(u.Object, "status", "credentials", "generation")
			return generation > 0
		}) {
			return true, nil
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return false, nil
		}
	}
}

// keyInUse is that of the networks in the cache.
func (c *caches) keyInUse() bool {
	return slices.ContainsFunc(c.informers[api.Resource].GetStore().List(), func(object any) bool {
		network, err := unstructuredx.UnpackInto[api.Network](object.(*unstructuredx.Packed))
		return err != nil || network.Status.Credentials.Generation > 0 // one that can't be read may have had some
	})
}
