package children

import (
	"strings"
	"testing"
	"unicode"
)

// TestTheUsersLinesAreThoseThatAdmissionJudged: nothing may be cut from the beginning of a line but what admission
// takes for a space there. Else a name would appear that it has not seen.
func TestTheUsersLinesAreThoseThatAdmissionJudged(t *testing.T) {
	for _, spaces := range unicode.White_Space.R16 {
		for r := rune(spaces.Lo); r <= rune(spaces.Hi); r += rune(spaces.Stride) {
			if strings.ContainsRune(" \t\n", r) {
				continue
			}
			n := network(1)
			n.Spec.Config = " \n" + string(r) + "rpcauth=somebody:salt$hash\ntxindex=1\n\n"
			conf := BitcoinConf(n, Auth{})
			if want := "\n" + string(r) + "rpcauth=somebody:salt$hash\ntxindex=1\n"; !strings.HasSuffix(conf, want) {
				t.Errorf("with %U before a name the configuration ends with %q", r,
					conf[strings.Index(conf, "# spec.config"):])
			}
		}
	}
}
