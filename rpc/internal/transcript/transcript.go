// Package transcript reads what was recorded from bitcoind, for the tests of the client and those of the fake.
package transcript

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// Transcript is one exchange recorded from bitcoind (Knots 29.5).
type Transcript struct {
	Request struct {
		Method string
		Path   string
		User   *string
		Body   *string
	}
	Response struct {
		Status  int
		Reason  string
		Headers map[string]string
		Body    string
	}
}

// Load reads the exchange of that name; dir is that of the transcripts, as seen from the test.
func Load(t testing.TB, dir, name string) *Transcript {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	tr := new(Transcript)
	if err := json.Unmarshal(raw, tr); err != nil {
		t.Fatalf("decode transcript %s: %v", name, err)
	}
	return tr
}
