// Command zip puts files into an archive for Windows, by their names without folders. The same content is the same bytes:
// nothing remains of the time and rights that files have here.
package main

import (
	"archive/zip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: zip ARCHIVE FILE...")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "zip:", err)
		os.Exit(1)
	}
}

func write(archive string, files []string) (err error) {
	made, err := madeAt(os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return err
	}
	out, err := os.Create(archive)
	if err != nil {
		return err // names the file
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	writer := zip.NewWriter(out)
	for _, file := range files {
		if err := add(writer, file, made); err != nil {
			return fmt.Errorf("add %s: %w", file, err)
		}
	}
	return writer.Close()
}

func add(writer *zip.Writer, file string, made time.Time) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	header := &zip.FileHeader{Name: filepath.Base(file), Method: zip.Deflate, Modified: made}
	header.SetMode(0o755)
	entry, err := writer.CreateHeader(header)
	if err != nil {
		return err
	}
	_, err = entry.Write(content)
	return err
}

// madeAt is the time of all files: SOURCE_DATE_EPOCH, or the first one that zip archives know.
func madeAt(epoch string) (time.Time, error) {
	if epoch == "" {
		return time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC), nil
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q: it must be a number of seconds", epoch)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
