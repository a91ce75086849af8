package rpc

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWarnings(t *testing.T) {
	for name, tc := range map[string]struct {
		json string
		want Warnings
	}{
		"a list is a list (since v28)":             {`["a","b"]`, Warnings{"a", "b"}},
		"an empty list is no warning":              {`[]`, Warnings{}},
		"a text is one warning (before v28)":       {`"a"`, Warnings{"a"}},
		"an empty text is no warning (before v28)": {`""`, nil},
		"null is no warning":                       {`null`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := Warnings{"left over"}
			if err := json.Unmarshal([]byte(tc.json), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if err := json.Unmarshal([]byte(`7`), new(Warnings)); err == nil {
		t.Error("a number was accepted")
	}
}

func TestRelease(t *testing.T) {
	for version, want := range map[int]string{
		290500: "29.5.0", 310000: "31.0.0", 220001: "22.0.1", 280100: "28.1.0", 210100: "0.21.1",
	} {
		if got := (NetworkInfo{Version: version}).Release(); got != want {
			t.Errorf("%d is %q, want %q", version, got, want)
		}
	}
}
