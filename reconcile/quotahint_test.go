package reconcile

import "testing"

func TestAQuotaThatCountsMoreSaysWhatToSet(t *testing.T) {
	const refused = `pods "my-network-sts-0" is forbidden: failed quota: small: must specify `
	for name, row := range map[string]struct{ words, hint string }{
		"a limit": {refused + "limits.cpu for: bitcoind", ": set spec.resources.limits.cpu"},
		"several": {refused + "limits.cpu for: bitcoind; requests.memory for: bitcoind",
			": set spec.resources.limits.cpu and spec.resources.requests.memory"},
		"a request by its short name":    {refused + "cpu for: bitcoind", ": set spec.resources.requests.cpu"},
		"beside a sidecar":               {refused + "memory for: bitcoind,proxy", ": set spec.resources.requests.memory"},
		"a sidecar's alone":              {refused + "limits.cpu for: proxy", ""},
		"a quota that is used up":        {"exceeded quota: small, requested: pods=1", ""},
		"words of others that are alike": {"you must specify a team", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := withQuotaHint(row.words); got != row.words+row.hint {
				t.Errorf("%q, want %q after the words", got, row.hint)
			}
		})
	}
}
