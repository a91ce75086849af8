// Command sbom writes to standard output which modules are linked into a Go binary, as CycloneDX has it. It takes them from
// the binary itself, where the Go toolchain has put them, so that the list is neither more nor less than what runs; and the
// same binary has the same list.
package main

import (
	"debug/buildinfo"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sbom BINARY VERSION")
		os.Exit(2)
	}
	if err := write(os.Stdout, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func write(out io.Writer, binary, version string) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err // names the file
	}
	info.Main.Version = version // which the toolchain knows only of what was fetched as a module
	if err := cdx.NewBOMEncoder(out, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom(info)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

func bom(info *buildinfo.BuildInfo) *cdx.BOM {
	main := component(cdx.ComponentTypeApplication, &info.Main)
	// What is installed is one version of the standard library, as of the toolchain.
	modules := []cdx.Component{component(cdx.ComponentTypeLibrary, &debug.Module{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")})}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		modules = append(modules, component(cdx.ComponentTypeLibrary, module))
	}
	var all []string
	for _, module := range modules {
		all = append(all, module.BOMRef)
	}
	list := cdx.NewBOM()
	list.Metadata = &cdx.Metadata{Component: &main}
	list.Components = &modules
	list.Dependencies = &[]cdx.Dependency{{Ref: main.BOMRef, Dependencies: &all}}
	return list
}

// component has the module's checksum as in go.sum, which is none of a file.
func component(kind cdx.ComponentType, module *debug.Module) cdx.Component {
	purl := "pkg:golang/" + module.Path + "@" + module.Version
	c := cdx.Component{Type: kind, BOMRef: purl, PackageURL: purl, Name: module.Path, Version: module.Version}
	if module.Sum != "" {
		c.Properties = &[]cdx.Property{{Name: "go.sum", Value: module.Sum}}
	}
	return c
}
