package main

import (
	"errors"
	"strings"
	"testing"
)

func TestLinesAreInTheOrderOfTime(t *testing.T) {
	var all []logLine
	for ordinal, log := range []string{
		"2026-12-01T12:00:00.1Z first\n2026-12-01T12:00:00.3Z third\nof the kubelet\n",
		"2026-12-01T12:00:00.2Z second\n2026-12-01T12:00:00.3Z also third\n2026-12-01T12:00:01Z last, without a line feed",
	} {
		if err := eachLine(strings.NewReader(log), int32(ordinal), []string{"a", "b"}[ordinal], func(line logLine) error {
			all = append(all, line)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	var out strings.Builder
	w := &lineWriter{out: &out}
	for _, line := range merged(all) {
		if err := w.write(line); err != nil {
			t.Fatal(err)
		}
	}
	if want := "a first\nb second\na third\na of the kubelet\nb also third\nb last, without a line feed\n"; out.String() != want {
		t.Errorf("lines are\n%s\nwant\n%s", out.String(), want)
	}
}

func TestColoursAreForTerminalsAlone(t *testing.T) {
	var out strings.Builder
	if newScreen(&out, false).colours {
		t.Error("what is no terminal gets colours")
	}
	if err := (&lineWriter{out: &out, colours: true}).write(logLine{pod: "a", text: "b"}); err != nil ||
		out.String() != "\x1b[32ma\x1b[0m b\n" {
		t.Errorf("a terminal gets %q, %v", out.String(), err)
	}
}

func TestALineThatCannotBeWrittenEndsTheLog(t *testing.T) {
	full := errors.New("disk full")
	if err := eachLine(strings.NewReader("a\nb\n"), 0, "a", func(logLine) error { return full }); !errors.Is(err, full) {
		t.Errorf("it ends with %v", err)
	}
}
