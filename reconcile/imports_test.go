package reconcile

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/bitcoin-controller/bitcoin-controller/"

// TestImportsAreAsDrawn holds the packages to the drawing in ARCHITECTURE.md: what a package may import of this module,
// but for tests. What isn't here imports nothing of it. A package that is missing here has no room yet: draw it first.
func TestImportsAreAsDrawn(t *testing.T) {
	drawn := map[string][]string{
		".": {"reconcile", "reconcile/metrics"},
		// reads what the controller reports, and has names and sides as it does
		"cmd/kubectl-btcnet": {
			"cmd/kubectl-btcnet/picture", "reconcile/api", "reconcile/children", "reconcile/mesh", "rpc",
		},
		"cmd/kubectl-btcnet/picture": nil,
		"reconcile": {
			"reconcile/api", "reconcile/chain", "reconcile/children", "reconcile/credentials", "reconcile/mesh",
			"reconcile/metrics", "reconcile/mining", "unstructuredx",
		},
		"reconcile/api":   nil,
		"reconcile/chain": nil,
		// unstructuredx for the policies of what others may add
		"reconcile/children":      {"reconcile/api", "unstructuredx"},
		"reconcile/credentials":   {"reconcile/api"},
		"reconcile/mesh":          {"reconcile/api", "reconcile/mining", "rpc"},
		"reconcile/mining":        {"reconcile/api"},
		"reconcile/metrics":       {"rpc"},
		"rpc":                     nil,
		"rpc/rpctest":             {"rpc", "rpc/internal/transcript"},
		"rpc/internal/transcript": nil,
		"unstructuredx":           nil,
	}
	seen := map[string]bool{}
	for dir, imports := range importsOf(t, "..", "flags.go", "main.go", "server.go", "cmd", "reconcile", "rpc", "unstructuredx") {
		allowed, known := drawn[dir]
		if seen[dir] = true; !known {
			t.Errorf("package %s is not drawn", dir)
		}
		for _, path := range imports {
			if !slices.Contains(allowed, path) {
				t.Errorf("%s imports %s, which is not drawn: a value handed in, or another room, does without", dir,
					path)
			}
		}
	}
	for dir := range drawn {
		if !seen[dir] {
			t.Errorf("package %s is drawn, and not there", dir)
		}
	}
}

// importsOf are the imports of this module's packages by each package below those roots, but for tests and what is made
// for tests.
func importsOf(t *testing.T, top string, roots ...string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	visit := func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(top, filepath.Dir(path))
		if err != nil {
			return err
		}
		if found[dir] == nil {
			found[dir] = []string{}
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if local, ours := strings.CutPrefix(imported, module); ours {
				found[dir] = append(found[dir], local)
			}
		}
		return nil
	}
	for _, root := range roots {
		if err := filepath.WalkDir(filepath.Join(top, root), visit); err != nil {
			t.Fatal(err)
		}
	}
	return found
}
