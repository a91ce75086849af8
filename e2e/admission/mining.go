package admission

import "testing"

// onlyFund is an item of spec.mining.funds.
const onlyFund = `{address: bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080, amount: "1"}`

// funds are spec.mining.funds of one item with that amount.
func funds(amount string) string {
	return "funds: [{address: bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080, " + amount + "}]"
}

// testRefusedMining has what can't be mined, or could cost coins, refused in a sentence that says what is wrong.
func testRefusedMining(t *testing.T, judge Judge) {
	for name, row := range map[string]struct{ mining, want string }{
		"an interval of half a second":        {"interval: 500ms", "interval must be whole seconds"},
		"a part of a second":                  {"interval: 1.5s", "interval must be whole seconds"},
		"no time at all":                      {"interval: 0s", "interval must be whole seconds, from 1s to 168h"},
		"more than a week":                    {"interval: 169h", "interval must be whole seconds, from 1s to 168h"},
		"a number":                            {"interval: 10", "must be of type string"},
		"another distribution":                {"distribution: Normal", `supported values: "Fixed", "Poisson"`},
		"nobody to mine":                      {"miners: []", "should have at least 1 items"},
		"a miner twice":                       {"miners: [{node: 0}, {node: 0}]", "Duplicate value"},
		"a miner that is no node":             {"miners: [{node: -1}]", "should be greater than or equal to 0"},
		"a negative weight":                   {"miners: [{node: 0, weight: -1}]", "should be greater than or equal to 0"},
		"an initial height above the highest": {"initialHeight: 200, maxHeight: 100", "initialHeight must not be more than maxHeight"},
		"the same by the default":             {"maxHeight: 100", "initialHeight must not be more than maxHeight"},
		"two places for the rewards":          {"to: {wallet: miner, descriptor: raw(51)}", "to has one of wallet, address and descriptor"},
		"no place for the rewards":            {"to: {}", "to has one of wallet, address and descriptor"},
		"a path for a wallet":                 {"to: {wallet: ../other}", "the name of a wallet has letters"},
		"an address of the main network": {"to: {address: bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4}",
			"is an address of the main network; must be one of regtest"},
		"an old one of it": {"to: {address: 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2}",
			"is an address of the main network; must be one of regtest"},
		"an address of a test network": {"to: {address: tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx}",
			"is an address of a public test network; must be one of regtest"},
		"no address":               {"to: {address: nonsense}", "must be an address of regtest"},
		"no descriptor":            {"to: {descriptor: nonsense}", "descriptor must be an output descriptor"},
		"a descriptor with a key":  {"to: {descriptor: wpkh(tprv8ZgxMBicQKsPd7Uf69XL1XwhmjHopUGep8GuEiJDZmbQz6o58LninorQAfcKZWARbtRtfnLcJ5MQ2AtHcQJCCRUcMRvmDUjyEmNUWwx8UbK/*)}", "must not hold a private key"},
		"funds that are no number": {funds("amount: lots"), "amount is a number of BTC in quotes"},
		"funds without quotes":     {funds("amount: 50"), "must be of type string"},
		"no funds":                 {funds(`amount: "0"`), "amount is a number of BTC in quotes"},
		"negative funds":           {funds(`amount: "-1"`), "amount is a number of BTC in quotes"},
		"less than a satoshi":      {funds(`amount: "1.000000001"`), "amount is a number of BTC in quotes"},
		"dust":                     {funds(`amount: "0.00000999"`), "amount is a number of BTC in quotes"},
		"funds for nobody":         {`funds: [{amount: "1"}]`, "address: Required value"},
		"funds twice":              {"funds: [" + onlyFund + ", " + onlyFund + "]", "Duplicate value"},
		"funds for an address of the main network": {
			`funds: [{address: bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4, amount: "1"}]`,
			"is an address of the main network; must be one of regtest"},
		"funds for an address of a test network": {
			`funds: [{address: tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx, amount: "1"}]`,
			"is an address of a public test network; must be one of regtest"},
		"funds from no wallet": {"to: {descriptor: raw(51)}, funds: [" + onlyFund + "]", "so mining must be to a wallet"},
	} {
		t.Run(name, func(t *testing.T) {
			answered(t, judge.Create(parse(t, "metadata: {name: bad}, spec: {nodes: 1, mining: {"+row.mining+"}}")), row.want)
		})
	}
}

func testAcceptedMining(t *testing.T, judge Judge) {
	for name, mining := range map[string]string{
		"the defaults":             "",
		"an interval":              "interval: 10s",
		"minutes and seconds":      "interval: 1m30s, distribution: Poisson",
		"miners by weight":         "miners: [{node: 0, weight: 3}, {node: 2}]",
		"no initial blocks":        "initialHeight: 0",
		"more blocks than rewards": "maxHeight: 100000",
		"suspended":                "suspended: true",
		"a wallet":                 "to: {wallet: my-miner_1.dat}",
		"an address":               "to: {address: bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080}",
		"an old address":           "to: {address: mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn}",
		"a descriptor":             `to: {descriptor: "raw(51)#8lvh9jxk"}`,
		"funds":                    "funds: [" + onlyFund + "]",
		"the least funds":          funds(`amount: "0.00001"`),
		"all that there can be":    funds(`amount: "21000000.00000001"`),
		"no funds yet":             "to: {descriptor: raw(51)}, funds: []",
	} {
		t.Run(name, func(t *testing.T) {
			answered(t, judge.Create(parse(t, "metadata: {name: good}, spec: {nodes: 1, mining: {"+mining+"}}")), "")
		})
	}
}
