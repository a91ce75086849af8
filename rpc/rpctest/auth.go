package rpctest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
)

// RPCAuth returns the value of an rpcauth line: user:salt$hash, where hash is HMAC-SHA256 of the password with the
// salt's text as key (bitcoind: share/rpcauth/rpcauth.py).
func RPCAuth(user, password, salt string) string {
	return user + ":" + salt + "$" + passwordHash(password, salt)
}

func passwordHash(password, salt string) string {
	mac := hmac.New(sha256.New, []byte(salt))
	mac.Write([]byte(password))
	return hex.EncodeToString(mac.Sum(nil))
}

// authConfig says which users there are, and which methods each of them may call.
type authConfig struct {
	users           []rpcUser
	whitelist       map[string]map[string]bool // user to methods
	othersForbidden bool                       // users without a whitelist may call nothing
}

type rpcUser struct{ name, salt, hash string }

func readAuthConfig(values map[string][]string) (authConfig, error) {
	a := authConfig{whitelist: map[string]map[string]bool{}}
	for _, line := range values["rpcauth"] {
		fields := strings.Split(line, ":")
		salted := strings.Split(fields[len(fields)-1], "$")
		if len(fields) != 2 || len(salted) != 2 {
			return a, errors.New("invalid -rpcauth argument") // bitcoind: httprpc.cpp InitRPCAuthentication
		}
		a.users = append(a.users, rpcUser{fields[0], salted[0], salted[1]})
	}
	if user, password := values["rpcuser"], values["rpcpassword"]; len(user) > 0 && len(password) > 0 {
		a.users = append(a.users, rpcUser{user[0], "", passwordHash(password[0], "")})
	}
	for _, line := range values["rpcwhitelist"] {
		a.allow(line)
	}
	a.othersForbidden = len(values["rpcwhitelist"]) > 0
	if v := values["rpcwhitelistdefault"]; len(v) > 0 {
		a.othersForbidden = v[0] != "0"
	}
	return a, nil
}

// allow reads one rpcwhitelist line. A user with several lines may call only the methods that are in all of them.
func (a *authConfig) allow(line string) {
	user, methods, _ := strings.Cut(line, ":")
	listed := map[string]bool{}
	for _, m := range strings.FieldsFunc(methods, func(r rune) bool { return r == ',' || r == ' ' }) {
		listed[m] = true
	}
	if before, ok := a.whitelist[user]; ok {
		for m := range listed {
			if !before[m] {
				delete(listed, m)
			}
		}
	}
	a.whitelist[user] = listed
}

// user returns the name of the user whose credentials a request carries.
func (a *authConfig) user(r *http.Request) (string, bool) {
	name, password, ok := r.BasicAuth()
	if !ok {
		return "", false
	}
	for _, u := range a.users {
		if u.name == name && hmac.Equal([]byte(u.hash), []byte(passwordHash(password, u.salt))) {
			return name, true
		}
	}
	return "", false
}

// allows reports whether the user may call the method.
func (a *authConfig) allows(user, method string) bool {
	if methods, ok := a.whitelist[user]; ok {
		return methods[method]
	}
	return !a.othersForbidden
}
