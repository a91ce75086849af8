package children

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/bitcoin-controller/bitcoin-controller/reconcile/api"
)

// zmqKeys are what the Secret calls the topics that applications ask for.
var zmqKeys = map[string]string{"rawblock": "zmqRawBlock", "rawtx": "zmqRawTx"}

// RPCSecret tells applications how to call the network's first node: a wallet lives on one node. It is created, and
// never read, changed or taken over: the controller may not read Secrets, and who may patch them may read them. It
// isn't marked immutable: as long as any pod on a machine uses an immutable Secret, its kubelet hands new pods the copy
// that it has, so after a rotation a rolling restart of applications would give them the old password again.
func RPCSecret(n *api.Network, user, password string) *corev1.Secret {
	host := fmt.Sprintf("%s.%s.svc", DNSName(n, 0), n.Namespace)
	data := map[string][]byte{
		"username": []byte(user),
		"password": []byte(password),
		"host":     []byte(host),
		"port":     []byte(strconv.Itoa(api.RPCPort)),
		"url":      fmt.Appendf(nil, "http://%s:%s@%s:%d", user, password, host, api.RPCPort),
	}
	if n.Spec.ZMQ { // under the names of LND's flags
		for _, topic := range api.ZMQTopics {
			if key := zmqKeys[topic.Name]; key != "" {
				data[key] = fmt.Appendf(nil, "tcp://%s:%d", host, topic.Port)
			}
		}
	}
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: childMeta(n, RPCSecretName(n)),
		Type:       corev1.SecretTypeOpaque,
		Data:       data,
	}
}
