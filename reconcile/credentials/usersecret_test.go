package credentials

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestWhatASecretMayHold(t *testing.T) {
	const strong = "a-long-enough-password"
	for name, row := range map[string]struct{ user, password, want string }{ // want: "" if it may
		"the series' example":             {"bc-user", "bc-password", ""},
		"all that a name may have":        {"A.b_c-9", strong, ""},
		"a name of 64 letters":            {strings.Repeat("a", 64), strong, ""},
		"a password of one letter":        {"u", "x", ""},
		"a colon in the password":         {"u", "a:b:c", ""},
		"a dollar, a hash, a space in it": {"u", "$ # = ", ""},
		"letters of any script":           {"u", "пароль", ""},
		"bytes that are no letters":       {"u", "\xff\xfe", ""},
		"the longest password":            {"u", strings.Repeat("x", 1024), ""},

		"a name of 65 letters":         {strings.Repeat("a", 65), strong, "BC_RPC_USER must have 1 to 64 letters"},
		"a colon in the name":          {"a:b", strong, "BC_RPC_USER must have"},
		"a line feed in the name":      {"a\nrpcauth=x", strong, "BC_RPC_USER must have"},
		"a line feed after the name":   {"u\n", strong, "such as a line feed at its end"},
		"a dollar in the name":         {"a$b", strong, "BC_RPC_USER must have"},
		"a comment in the name":        {"a#b", strong, "BC_RPC_USER must have"},
		"a space in the name":          {"a b", strong, "BC_RPC_USER must have"},
		"an empty name":                {"", strong, "BC_RPC_USER is empty"},
		"the controller's name":        {"bitcoin-controller", strong, "the name of a user that each node has already"},
		"applications' name":           {"application", strong, "the name of a user that each node has already"},
		"the cookie's name":            {"__cookie__", strong, "the name of a user that each node has already"},
		"an empty password":            {"u", "", "BC_RPC_PASSWORD is empty"},
		"a line feed after a password": {"u", strong + "\n", "BC_RPC_PASSWORD holds a control character"},
		"a zero byte in a password":    {"u", "a\x00b", "BC_RPC_PASSWORD holds a control character"},
		"a delete in a password":       {"u", "a\x7fb", "BC_RPC_PASSWORD holds a control character"},
		"a password that is too long":  {"u", strings.Repeat("x", 1025), "BC_RPC_PASSWORD has more than 1024 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			encoded := func(text string) any { return base64.StdEncoding.EncodeToString([]byte(text)) }
			login, err := ParseUserSecret(map[string]any{UserKey: encoded(row.user),
				PasswordKey: encoded(row.password)})
			switch {
			case row.want == "" && (err != nil || login != (Login{row.user, row.password})):
				t.Errorf("%q, %q, %v", login.User, login.Password, err)
			case row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)):
				t.Errorf("the error is %v, want %q", err, row.want)
			case err != nil && row.password != "" && strings.Contains(err.Error(), row.password):
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
	for name, row := range map[string]struct {
		data map[string]any
		want string
	}{
		"nothing":             {nil, "it has no key BC_RPC_USER"},
		"no user":             {map[string]any{PasswordKey: "eA=="}, "it has no key BC_RPC_USER"},
		"no password":         {map[string]any{UserKey: "eA=="}, "it has no key BC_RPC_PASSWORD"},
		"what isn't base64":   {map[string]any{UserKey: "eA==", PasswordKey: "?"}, "BC_RPC_PASSWORD is not in base64"},
		"another kind of key": {map[string]any{"user": "eA==", "password": "eA=="}, "it has no key BC_RPC_USER"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseUserSecret(row.data); err == nil || err.Error() != row.want {
				t.Errorf("the error is %v, want %q", err, row.want)
			}
		})
	}
}
