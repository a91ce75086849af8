package credentials

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// The keys of a Secret that spec.secret names, as in the 2019 series.
const (
	UserKey     = "BC_RPC_USER"
	PasswordKey = "BC_RPC_PASSWORD"
)

// WeakBytes is the length below which a password can be guessed from its hash: many may read ConfigMaps and the status.
const WeakBytes = 16

// maxPasswordBytes keeps the user's requests within what bitcoind takes for headers. bitcoind: httpserver.cpp
// MAX_HEADERS_SIZE.
const maxPasswordBytes = 1024

// validUserName: bitcoind exits at a name with a colon, and a line feed would begin another option.
var validUserName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// ParseUserSecret reads the data of a user's Secret, in base64 as the apiserver has it. Its errors tell what is wrong,
// and nothing of what the Secret holds.
func ParseUserSecret(data map[string]any) (login Login, err error) {
	if login.User, err = decode(data, UserKey); err != nil {
		return Login{}, err
	}
	if login.Password, err = decode(data, PasswordKey); err != nil {
		return Login{}, err
	}
	switch {
	case !validUserName.MatchString(login.User):
		err = fmt.Errorf("%s must have 1 to 64 letters, digits, '_', '.' or '-', and nothing else, "+
			"such as a line feed at its end", UserKey)
	case login.User == ControllerUser || login.User == ApplicationUser || login.User == cookieUser:
		err = fmt.Errorf("%s is the name of a user that each node has already: choose another one", UserKey)
	// HTTP's Basic authentication has no control characters (RFC 7617); one at the end is a mistake that is hard to
	// find.
	case strings.ContainsFunc(login.Password, func(r rune) bool { return r < ' ' || r == 0x7f }):
		err = fmt.Errorf("%s holds a control character, such as a line feed at its end", PasswordKey)
	case len(login.Password) > maxPasswordBytes:
		err = fmt.Errorf("%s has more than %d bytes", PasswordKey, maxPasswordBytes)
	}
	if err != nil {
		return Login{}, err
	}
	return login, nil
}

// decode returns the content of one key.
func decode(data map[string]any, key string) (string, error) {
	encoded, there := data[key].(string)
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	switch {
	case !there:
		return "", fmt.Errorf("it has no key %s", key)
	case err != nil:
		return "", fmt.Errorf("%s is not in base64", key)
	case len(decoded) == 0:
		return "", fmt.Errorf("%s is empty", key)
	}
	return string(decoded), nil
}

// OwnUserLine is the rpcauth value for a user's own login. It is the same at each reading of the Secret.
func (k Key) OwnUserLine(network types.UID, login Login) string {
	return rpcauth(login, k.derive("own user salt", string(network), login.User))
}
