package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestAReportSaysWhatIsMissingAndHasNoCredentials(t *testing.T) {
	b := &bundle{files: map[string]string{}}
	b.add("bitcoin.conf", "rpcauth=app:canary\n", nil)
	b.addObject("pods.yaml", map[string]any{"args": []any{"-rpcpassword=canary"}}, nil)
	b.add("nodes/0/log", "", errors.New("get http://app:canary@host: forbidden"))
	packed, err := b.pack("net", time.Unix(1_800_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil || strings.Contains(string(text), "canary") {
			t.Errorf("%s has %q, %v", header.Name, text, err)
		}
		files[header.Name] = string(text)
	}
	if len(files) != 3 || files["net-report/not-read.txt"] != "nodes/0/log: get http://REDACTED@host: forbidden\n" {
		t.Errorf("files are %q", files)
	}
}

func TestTheEndOfALongLogIsKept(t *testing.T) {
	long := strings.Repeat("0123456\n", 100_000)
	for name, row := range map[string]struct{ log, want string }{
		"all of a short one": {"a\nb\n", "a\nb\n"},
		"the end of a long":  {long, "(what was before is left out)\n" + long[:72]},
	} {
		if got, err := lastOf(strings.NewReader(row.log), 80); err != nil || got != row.want {
			t.Errorf("%s: %d bytes, %v, want %d: %.100s", name, len(got), err, len(row.want), got)
		}
	}
}
