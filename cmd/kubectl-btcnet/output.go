package main

import (
	"encoding/json"
	"fmt"
	"io"
)

// checkOutput refuses what -o can't be of a verb that has an answer of its own.
func checkOutput(format string) error {
	if format != "" && format != "json" {
		return fmt.Errorf("--output is %q: it is json, or nothing for people", format)
	}
	return nil
}

// writeAs writes an answer as JSON, or for people.
func writeAs(out io.Writer, format string, answer any, forPeople func(io.Writer) error) error {
	if format == "" {
		return forPeople(out)
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(answer)
}
