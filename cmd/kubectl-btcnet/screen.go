package main

import (
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/term"
)

// screen is where a status is shown, once or again and again.
type screen struct {
	out io.Writer
	// colours: it is a terminal that knows them.
	colours bool
	// redraw: what was shown before is to go.
	redraw bool
}

// erase has a terminal forget what it shows, and begin at its top.
const erase = "\x1b[H\x1b[2J"

func newScreen(out io.Writer, redraw bool) *screen {
	file, is := out.(*os.File)
	terminal := is && term.IsTerminal(int(file.Fd())) && knowsEscapes(runtime.GOOS, os.Getenv)
	return &screen{out: out, colours: terminal && os.Getenv("NO_COLOR") == "", redraw: terminal && redraw}
}

// knowsEscapes is whether a terminal takes ANSI's escape sequences for what they are.
func knowsEscapes(system string, env func(string) string) bool {
	if system == "windows" { // the console alone shows them as they are unless it is told otherwise
		return env("WT_SESSION") != "" || env("TERM") != ""
	}
	return env("TERM") != "" && env("TERM") != "dumb"
}

// show shows a tree.
func (s *screen) show(shown tree) error {
	text := shown.draw(s.colours)
	if s.redraw {
		text = erase + text
	}
	_, err := io.Copy(s.out, strings.NewReader(text))
	return err
}
