// Package e2e holds to each other the versions that scripts, modules, manifests and documents name, and links to what they
// lead to.
package e2e

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const root = ".."

// read is a file of the repository, or of its module cache if the path is absolute.
func read(t *testing.T, path string) string {
	t.Helper()
	if !filepath.IsAbs(path) {
		path = filepath.Join(root, path)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// files are the files below a folder of the repository whose name matches.
func files(t *testing.T, folder, name string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(filepath.Join(root, folder), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if entry.Name() == ".git" {
				return filepath.SkipDir
			}
			return nil
		}
		if matched, err := filepath.Match(name, entry.Name()); err != nil || !matched {
			return err
		}
		relative, err := filepath.Rel(root, path)
		found = append(found, relative)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatalf("no file %s below %s", name, folder)
	}
	return found
}

// named is what the one group of a pattern matches in a file, which has to name it.
func named(t *testing.T, file, pattern string) string {
	t.Helper()
	match := regexp.MustCompile(`(?m)` + pattern).FindStringSubmatch(read(t, file))
	if match == nil {
		t.Fatalf("%s: nothing matches %s", file, pattern)
	}
	return match[1]
}

// agree fails for each of the files that names another version by a pattern, of which all must name one.
func agree(t *testing.T, paths []string, pattern, want string) {
	t.Helper()
	for _, path := range paths {
		matches := regexp.MustCompile(`(?m)`+pattern).FindAllStringSubmatch(read(t, path), -1)
		if len(matches) == 0 {
			t.Errorf("%s: nothing matches %s", path, pattern)
		}
		for _, match := range matches {
			if match[1] != want {
				t.Errorf("%s: %q, want %s", path, strings.TrimSpace(match[0]), want)
			}
		}
	}
}

func TestGoIsOneVersion(t *testing.T) {
	version := named(t, "go.mod", `^go (\S+)$`)
	agree(t, files(t, ".", "go.mod"), `^go (\S+)$`, version)
	agree(t, []string{"README.md"}, `\bGo (1\.\d+)`, version[:strings.LastIndex(version, ".")])
}

// All modules are of the Kubernetes that e2e/kube builds, whose libraries are numbered v0 for its v1.
func TestKubernetesIsOneVersion(t *testing.T) {
	version := named(t, "e2e/kube/go.mod", `^\tk8s\.io/kubernetes v1\.(\S+)$`)
	modules := slices.DeleteFunc(files(t, ".", "go.mod"), func(path string) bool {
		return !strings.Contains(read(t, path), "\tk8s.io/")
	})
	if len(modules) < 3 {
		t.Errorf("only %v need Kubernetes", modules)
	}
	// The rest of k8s.io, such as klog and utils, has versions of its own.
	agree(t, modules, `\bk8s\.io/(?:api|apimachinery|client-go|apiserver|component-base|kubelet) v0\.([1-9]\S*)`,
		version)
	agree(t, []string{"e2e/kube/go.mod"}, `=> k8s\.io/\S+ v0\.(\S+)$`, version)
	agree(t, []string{"README.md"}, `\bKubernetes 1\.(\d+\.\d+), built`, version)
}

// What is pulled: the node image is the default of that release of kind, so README names both.
func TestKindIsOneVersion(t *testing.T) {
	agree(t, []string{"README.md"}, `\bkind (v[0-9.]+\d)`, named(t, "e2e/kind.sh", `^kind_version=(\S+)$`))
	agree(t, []string{"README.md"}, `\bkindest/node:(v[0-9.]+\d)`,
		named(t, "e2e/kind.sh", `^kind_node=kindest/node:([^@]+)@sha256:[0-9a-f]{64}$`))
}

// What install.yaml is made by is in kubectl too, for `kubectl apply -k manifests`.
func TestKustomizeIsThatOfKubectl(t *testing.T) {
	agree(t, []string{".ci/install-yaml"}, `^kustomize=sigs\.k8s\.io/kustomize/kustomize/v5@(\S+)$`,
		named(t, "e2e/kube/go.mod", `^\tsigs\.k8s\.io/kustomize/kustomize/v5 (\S+)`))
}

func TestTheImageOfBitcoindIsOne(t *testing.T) {
	image := named(t, "manifests/controller/deployment.yaml", `--node-image=(\S+)$`)
	paths := append(files(t, "e2e", "*.sh"), files(t, "manifests", "*.yaml")...)
	paths = append(append(paths, files(t, "charts", "*.yaml")...), files(t, "charts", "*.md")...)
	paths = append(paths, files(t, "docs", "*.md")...)
	paths = slices.DeleteFunc(paths, func(path string) bool {
		return !strings.Contains(read(t, path), "bitcoin/bitcoin:")
	})
	agree(t, append(paths, "README.md"), `(docker\.io/bitcoin/bitcoin:[\w.]+\w)`, image)
	// Scripts take it from the Deployment.
	agree(t, []string{"e2e/kind.sh"}, `^bitcoind_online=\$\(sed -n '\S+ "\$root/(\S+)"\)$`,
		"manifests/controller/deployment.yaml")
}

// The tests build what the sample names.
func TestLNDIsOneVersion(t *testing.T) {
	version := named(t, "e2e/lightning/go.mod", `^\tgithub\.com/lightningnetwork/lnd (\S+)`)
	agree(t, []string{"manifests/samples/lightning.yaml"}, `image: docker\.io/lightninglabs/lnd:(\S+)`, version)
	agree(t, []string{"docs/using.md"}, `\bLND (v[\w.-]+\w)`, version)
}

// kubeadm asks for images by name: of the CoreDNS that e2e/kube builds beside it, and of a pause that the runtime has
// to know by the same name. Its source is here wherever Kubernetes was built.
func TestWhatKubeadmAsksForIsThere(t *testing.T) {
	list := exec.CommandContext(context.Background(), "go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes")
	list.Dir = filepath.Join(root, "e2e/kube")
	list.Env = append(os.Environ(), "GOPROXY=off")
	output, err := list.Output()
	folder := strings.TrimSpace(string(output))
	if err != nil || folder == "" {
		t.Skip("the source of Kubernetes is not in the module cache: it was never built here")
	}
	constants := filepath.Join(folder, "cmd/kubeadm/app/constants/constants.go")
	agree(t, []string{"e2e/kube/go.mod"}, `^\tgithub\.com/coredns/coredns (\S+)$`,
		named(t, constants, `^\tCoreDNSVersion = "(\S+)"$`))
	agree(t, []string{"e2e/offline/node/containerd.toml"}, `sandbox_image = "registry\.k8s\.io/pause:(\S+)"`,
		named(t, constants, `^\tPauseVersion = "(\S+)"$`))

	// The plugins of the Corefile that kubeadm writes are those that are linked, no more and no fewer.
	manifests := filepath.Join(folder, "cmd/kubeadm/app/phases/addons/dns/manifests.go")
	corefile := named(t, manifests, `(?s)\.:53 \{\n(.*?)\n    \}\n`)
	var want []string
	for _, match := range regexp.MustCompile(`(?m)^ {8}([a-z]+)\b`).FindAllStringSubmatch(corefile, -1) {
		want = append(want, strings.ReplaceAll(match[1], "prometheus", "metrics")) // one plugin by two names
	}
	var linked []string
	main := read(t, "e2e/kube/coredns/main.go")
	for _, match := range regexp.MustCompile(`coredns/plugin/(\w+)"`).FindAllStringSubmatch(main, -1) {
		linked = append(linked, match[1])
	}
	slices.Sort(want)
	slices.Sort(linked)
	if !slices.Equal(want, linked) {
		t.Errorf("kubeadm's Corefile needs the plugins %v, but e2e/kube/coredns links %v", want, linked)
	}
}
