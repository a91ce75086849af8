package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Kustomization writes a kustomization.yaml into a directory of its own, and returns that. MANIFESTS in it stands for the
// path of manifests/, which kustomize wants to be relative. The tests of a package run in its directory, two below the
// repository's.
func Kustomization(t *testing.T, text string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	manifests, err := filepath.Abs("../../manifests")
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(dir, manifests)
	if err != nil {
		t.Fatal(err)
	}
	text = strings.ReplaceAll(text, "MANIFESTS", relative)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
