package main

import (
	"regexp"
)

const redacted = "REDACTED"

var (
	// credentialLine is a setting of bitcoin.conf, an argument of bitcoind or a field of a status. It ends with its
	// line, wherever that line is: in YAML, or in a JSON string.
	credentialLine = regexp.MustCompile(`(?i)(rpc(?:auth|password|user)["']?[ \t]*[=:][ \t]*["']?)[^"'\r\n\\]+`)
	// credentialURL is a URL with a user.
	credentialURL = regexp.MustCompile(`://[^\s/@"']+@`)
	// credentialName is the name of a variable whose value nobody else should see.
	credentialName = regexp.MustCompile(`(?i)pass|secret|token|key|cred|auth|cookie`)
)

// redact is a text without credentials, and without hashes of any.
func redact(text string) string {
	text = credentialLine.ReplaceAllString(text, "${1}"+redacted)
	return credentialURL.ReplaceAllString(text, "://"+redacted+"@")
}

// redactObject takes from an object copies of itself, and the values of variables whose names say that they are secret.
// What becomes of the rest as a text is still to be redacted.
func redactObject(value any) {
	switch value := value.(type) {
	case map[string]any:
		if annotations, is := value["annotations"].(map[string]any); is {
			delete(annotations, "kubectl.kubernetes.io/last-applied-configuration")
		}
		delete(value, "managedFields")
		name, _ := value["name"].(string)
		if _, has := value["value"]; has && credentialName.MatchString(name) {
			value["value"] = redacted
		}
		for _, field := range value {
			redactObject(field)
		}
	case []any:
		for _, item := range value {
			redactObject(item)
		}
	}
}
