package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	// named documents are those that code, manifests and scripts send their readers to.
	namedDocument = regexp.MustCompile(`\bdocs/[\w-]+\.\w+`)
)

// withoutCode is a text of Markdown without its fenced blocks, in which "#" begins a comment and brackets are code.
func withoutCode(text string) string {
	var kept []string
	fenced := false
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
			continue
		}
		if !fenced {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}

// anchors are what the headings of a document are called in links, as GitHub has it.
func anchors(text string) []string {
	var names []string
	for _, match := range heading.FindAllStringSubmatch(withoutCode(text), -1) {
		names = append(names, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, match[1]))
	}
	return names
}

// leadsNowhere is what is wrong with a link in a document; "" if it leads somewhere, or out of the repository.
func leadsNowhere(t *testing.T, document, target string) string {
	t.Helper()
	if strings.Contains(target, "://") {
		return ""
	}
	path, anchor, _ := strings.Cut(target, "#")
	if path == "" {
		path = document
	} else {
		path = filepath.Join(filepath.Dir(document), path)
	}
	if _, err := os.Stat(filepath.Join(root, path)); err != nil {
		return err.Error()
	}
	if anchor != "" && !slices.Contains(anchors(read(t, path)), anchor) {
		return "no heading of " + path + " is called that"
	}
	return ""
}

func TestLinksLeadSomewhere(t *testing.T) {
	links := 0
	for _, document := range files(t, ".", "*.md") {
		for _, match := range link.FindAllStringSubmatch(withoutCode(read(t, document)), -1) {
			links++
			if problem := leadsNowhere(t, document, match[1]); problem != "" {
				t.Errorf("%s: %s: %s", document, match[1], problem)
			}
		}
	}
	if links < 40 {
		t.Errorf("only %d links were found", links)
	}
	for _, target := range []string{"nothing.md", "README.md#nothing", "#nothing"} {
		if leadsNowhere(t, "README.md", target) == "" {
			t.Errorf("the link %s is taken for one that leads somewhere", target)
		}
	}
}

func TestDocumentsThatAreNamedAreThere(t *testing.T) {
	found := 0
	for _, name := range []string{"*.go", "*.yaml", "*.sh", "*.lua", "*.md"} {
		for _, file := range files(t, ".", name) {
			for _, document := range namedDocument.FindAllString(read(t, file), -1) {
				found++
				if _, err := os.Stat(filepath.Join(root, document)); err != nil {
					t.Errorf("%s: %v", file, err)
				}
			}
		}
	}
	if found == 0 {
		t.Error("no document is named anywhere")
	}
}
