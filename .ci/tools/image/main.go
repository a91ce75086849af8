// Command image writes the image of a controller as an archive, as `docker load`, `kind load image-archive` and
// `ctr images import` take it. No Docker engine is needed for that, nor can one have a say: the same binary, name and
// version are the same bytes, and the image is of the binary's platform whatever the machine is that makes it.
//
// The binary is all that the image holds: no shell, and no CA certificates, as the only one who is spoken to by TLS is
// the apiserver, whose CA Kubernetes mounts.
package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

const binaryName = "bitcoin-controller"

func main() {
	if len(os.Args) != 5 {
		fmt.Fprintln(os.Stderr, "usage: image BINARY NAME:TAG VERSION ARCHIVE")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2], os.Args[3], os.Args[4]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func write(binary, imageName, version, archive string) error {
	tag, err := name.NewTag(imageName)
	if err != nil {
		return fmt.Errorf("%q is no name of an image such as registry.example.com/you/name:v1: %w", imageName, err)
	}
	made, err := madeAt(os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err // names the file
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	image, err := build(program, setting(info, "GOARCH"), version, made)
	if err != nil {
		return fmt.Errorf("build: %w", err)
	}
	if err := tarball.WriteToFile(archive, tag, image); err != nil {
		return fmt.Errorf("write %s: %w", archive, err)
	}
	return nil
}

// madeAt is what all times are set to: 1980 unless SOURCE_DATE_EPOCH says otherwise (reproducible-builds.org), since
// sources of a release that came without their history tell no time.
func madeAt(epoch string) (v1.Time, error) {
	seconds, err := strconv.ParseInt(cmp.Or(epoch, "315532800"), 10, 64)
	if err != nil {
		return v1.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH must be a time in Unix seconds, not %q", epoch)
	}
	return v1.Time{Time: time.Unix(seconds, 0).UTC()}, nil
}

func setting(info *buildinfo.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

func build(program []byte, architecture, version string, made v1.Time) (v1.Image, error) {
	if architecture == "" {
		return nil, errors.New("the binary doesn't tell which GOARCH it is built for")
	}
	content, err := layer(program, made)
	if err != nil {
		return nil, err
	}
	opened := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	only, err := tarball.LayerFromOpener(opened)
	if err != nil {
		return nil, err
	}
	image, err := mutate.Append(empty.Image, mutate.Addendum{Layer: only, History: v1.History{Created: made,
		CreatedBy: "make image"}})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Created = made
	config.OS, config.Architecture = "linux", architecture
	config.Config = v1.Config{
		User:       "65532:65532",
		Entrypoint: []string{"/" + binaryName},
		Labels: map[string]string{
			"org.opencontainers.image.title":    binaryName,
			"org.opencontainers.image.version":  version,
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	return mutate.ConfigFile(image, config)
}

// layer is a tar archive of nothing but the program.
func layer(program []byte, made v1.Time) ([]byte, error) {
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: binaryName, Mode: 0o755, Size: int64(len(program)),
		ModTime: made.Time, Format: tar.FormatUSTAR})
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}
