package main

import (
	"flag"
	"fmt"
	"strings"
)

// usage is what --help prints, in lines of at most 120 columns.
func usage(flags *flag.FlagSet) string {
	var text strings.Builder
	fmt.Fprintf(&text, `bitcoin-controller keeps private networks of bitcoind as BitcoinNetworks declare them.

Usage: bitcoin-controller [flags]

Each flag but --version is also a variable of the environment, such as %s; the flag wins.

`, variable("node-image"))
	flags.VisitAll(func(f *flag.Flag) {
		value, meaning := flag.UnquoteUsage(f)
		fmt.Fprint(&text, "  --", f.Name)
		if value != "" {
			fmt.Fprintf(&text, "=<%s>", value)
		}
		if f.DefValue != "" {
			fmt.Fprintf(&text, " (default %s)", f.DefValue)
		}
		text.WriteString("\n")
		for _, line := range wrap(meaning, 120-8) {
			fmt.Fprintf(&text, "        %s\n", line)
		}
	})
	return text.String()
}

// wrap breaks a text into lines between words.
func wrap(text string, width int) []string {
	lines := []string{""}
	for _, word := range strings.Fields(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case len(*last)+1+len(word) <= width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}
