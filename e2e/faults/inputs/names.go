package inputs

import (
	"errors"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Cause is one reason for which an apiserver refuses an object. The field is empty where it gives none.
type Cause struct{ Field, Message string }

// NamedBy says whether a cause names a field that the mutation changes: by its path or a path below it, or, as a rule
// of several fields does, by a path above it and the name of what is below that. For an item that is removed that is
// the list.
func (m Mutation) NamedBy(causes ...Cause) bool {
	for _, change := range m.Changes {
		for _, cause := range causes {
			if change.namedBy(cause) {
				return true
			}
		}
	}
	return false
}

func (c Change) namedBy(cause Cause) bool {
	path, told := steps(c.Field()), steps(cause.Field)
	if !strings.HasPrefix(cause.Field, "spec") { // what is beyond a format has its path in the message alone
		return strings.HasSuffix(cause.Message, " in "+c.Field())
	}
	if c.Remove && number.MatchString(path[len(path)-1]) { // the list is what was changed
		path = path[:len(path)-1]
	}
	same := 0
	for same < min(len(path), len(told)) && path[same] == told[same] {
		same++
	}
	if same == len(path) && same > 1 {
		return true
	}
	// Of two items that can't be there both, it names the second, which may be the other one.
	other := same == len(told)-1 && same < len(path) && number.MatchString(told[same]) && number.MatchString(path[same])
	if same < len(told) && !other { // another field
		return false
	}
	for _, name := range path[same:] {
		if !number.MatchString(name) && regexp.MustCompile(`\b`+regexp.QuoteMeta(name)+`\b`).MatchString(cause.Message) {
			return true
		}
	}
	return false
}

var number = regexp.MustCompile(`^\d+$`)

// steps are those of a path as an apiserver writes it. Keys of maps with a dot are taken for several fields, in both
// paths that are compared.
func steps(field string) []string {
	return strings.FieldsFunc(field, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}

// Causes are the reasons that an apiserver gives with an error. What its strict decoding doesn't know it lists in
// words alone.
func Causes(err error) (causes []Cause) {
	if status := apierrors.APIStatus(nil); errors.As(err, &status) && status.Status().Details != nil {
		for _, cause := range status.Status().Details.Causes {
			causes = append(causes, Cause{Field: cause.Field, Message: cause.Message})
		}
	}
	for _, found := range unknown.FindAllStringSubmatch(err.Error(), -1) {
		causes = append(causes, Cause{Field: found[1], Message: found[0]})
	}
	return causes
}

var unknown = regexp.MustCompile(`(?:unknown field|duplicate field) "([^"]+)"`)
