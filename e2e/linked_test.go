package e2e

import (
	"os/exec"
	"strings"
	"testing"
)

// TestNothingThatIsForTestsIsLinked holds what is released to its own packages: what tests and measurements bring, such
// as the rival's controller-runtime, stays outside.
func TestNothingThatIsForTestsIsLinked(t *testing.T) {
	const module = "github.com/bitcoin-controller/bitcoin-controller"
	command := exec.CommandContext(t.Context(), "go", "list", "-deps", ".", "./cmd/...")
	command.Dir = ".."
	listed, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := strings.Fields(string(listed))
	own := 0
	for _, path := range packages {
		if path == module+"/reconcile" {
			own++
		}
		for _, foreign := range []string{module + "/e2e", module + "/internal/testworld", module + "/rpc/rpctest",
			"sigs.k8s.io/controller-runtime", "testing"} {
			if path == foreign || strings.HasPrefix(path, foreign+"/") {
				t.Errorf("%s is linked", path)
			}
		}
	}
	if own != 1 {
		t.Errorf("%s/reconcile is linked %d times: these are not the packages of the controller", module, own)
	}
}
