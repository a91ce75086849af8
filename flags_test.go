package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// asMain is set where this test binary is to be the controller itself: see start.
const asMain = "BITCOIN_CONTROLLER_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// start runs the controller with these flags and variables until it ends by itself, and returns its exit code.
func start(t *testing.T, args, env []string) (code int, stdout, stderr string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0], args...)
	command.Env = append([]string{asMain + "=1"}, env...) // KUBERNETES_SERVICE_HOST is none of them: there is no cluster
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	command.WaitDelay = time.Minute
	var exited *exec.ExitError
	if err := command.Run(); err != nil && !errors.As(err, &exited) {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), out.String(), errs.String()
}

func writeFile(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestWhatCannotBeIsRefused holds each flag to its words: 2 is the exit code of what can't be started like this, and a
// line says why.
func TestWhatCannotBeIsRefused(t *testing.T) {
	const number, boolean = "it must be a number from 1 to 1000", "it must be true or false"
	const duration = "it must be a time with its unit, such as 30s, and at least 1s"
	const address = "it must be host:port, or :port for all addresses, or empty for none"
	const selector = "it must be a label selector, such as shard=a or shard notin (a, b), or empty for all networks"
	const level = "it must be debug, info, warn or error"
	const all = "\nbitcoin-controller --help lists the flags.\n"
	for _, row := range []struct{ given, want string }{
		{"--workers=-1", `invalid value "-1" for flag -workers: ` + number},
		{"--workers=many", `invalid value "many" for flag -workers: ` + number},
		{"--workers=1001", `invalid value "1001" for flag -workers: ` + number},
		{"BITCOIN_CONTROLLER_WORKERS=0", `invalid value "0" for BITCOIN_CONTROLLER_WORKERS: ` + number},
		{"--resync=5", `invalid value "5" for flag -resync: ` + duration},
		{"--resync=-1s", `invalid value "-1s" for flag -resync: ` + duration},
		{"BITCOIN_CONTROLLER_RESYNC=10ms", `invalid value "10ms" for BITCOIN_CONTROLLER_RESYNC: ` + duration},
		{"--leader-elect=maybe", `invalid boolean value "maybe" for -leader-elect: ` + boolean},
		{"BITCOIN_CONTROLLER_NODE_METRICS=2", `invalid value "2" for BITCOIN_CONTROLLER_NODE_METRICS: ` + boolean},
		{"--profiling=on", `invalid boolean value "on" for -profiling: ` + boolean},
		{"--version=v1", `invalid boolean value "v1" for -version: ` + boolean},
		{"--selector=shard=a b", `invalid value "shard=a b" for flag -selector: ` + selector},
		{"--selector=shard in a", `invalid value "shard in a" for flag -selector: ` + selector},
		{"BITCOIN_CONTROLLER_SELECTOR=_=a", `invalid value "_=a" for BITCOIN_CONTROLLER_SELECTOR: ` + selector},
		{"--log-level=loud", `invalid value "loud" for flag -log-level: ` + level},
		{"BITCOIN_CONTROLLER_LOG_LEVEL=-7x", `invalid value "-7x" for BITCOIN_CONTROLLER_LOG_LEVEL: ` + level},
		{"--health-address=8081", `invalid value "8081" for flag -health-address: ` + address},
		{"--health-address=:99999", `invalid value ":99999" for flag -health-address: ` + address},
		{"--metrics-address=localhost:", `invalid value "localhost:" for flag -metrics-address: ` + address},
		{"BITCOIN_CONTROLLER_METRICS_ADDRESS=x:y",
			`invalid value "x:y" for BITCOIN_CONTROLLER_METRICS_ADDRESS: ` + address},
		{"--health-address=:8080", "--health-address and --metrics-address must differ: both are :8080"},
		{"--node-image=an image", `invalid value "an image" for flag -node-image: it must be the name of an image`},
		{"--system-namespace=A_b", `invalid value "A_b" for flag -system-namespace: it must be the name of a namespace`},
		{"--namespace=a,b",
			`invalid value "a,b" for flag -namespace: it must be the name of one namespace, or empty for all`},
		{"--nodes=3", "flag provided but not defined: -nodes"},
		{"3", `unknown argument "3": there are only flags`},
		{"--kubeconfig=/nowhere", "find the cluster by --kubeconfig: stat /nowhere: no such file or directory"},
		{"BITCOIN_CONTROLLER_KUBECONFIG=/nowhere",
			"find the cluster by --kubeconfig: stat /nowhere: no such file or directory"},
		{"--kubeconfig=/dev/null", "find the cluster: the --kubeconfig /dev/null names none"},
		{"--kubeconfig=" + writeFile(t, "nonsense: ["), "find the cluster by --kubeconfig: error loading config file"},
		{"", "find the cluster: this is no pod of one, so --kubeconfig is needed"},
	} {
		t.Run(row.given, func(t *testing.T) {
			var args, env []string
			switch {
			case strings.HasPrefix(row.given, "BITCOIN_CONTROLLER_"):
				env = []string{row.given}
			case row.given != "":
				args = []string{row.given}
			}
			code, stdout, stderr := start(t, args, env)
			if code != 2 || stdout != "" || !strings.HasPrefix(stderr, "bitcoin-controller: "+row.want) ||
				strings.Count(stderr, "\n") != 2 || !strings.HasSuffix(stderr, all) {
				t.Errorf("exit code %d, on stdout:\n%son stderr:\n%swant 2 and %q", code, stdout, stderr, row.want)
			}
		})
	}
}

// TestWhatGoesWrongAtWorkIsAnotherExitCode is for whoever starts it again: what is wrong may be right the next time.
func TestWhatGoesWrongAtWorkIsAnotherExitCode(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	kubeconfig := writeFile(t, "{apiVersion: v1, kind: Config, current-context: c, "+
		"contexts: [{name: c, context: {cluster: c}}], "+
		"clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]}")
	address := taken.Addr().String()
	for flag, want := range map[string]string{
		"--health-address":  "serve health checks (--health-address): listen tcp " + address,
		"--metrics-address": "serve metrics (--metrics-address): listen tcp " + address,
	} {
		t.Run(flag, func(t *testing.T) {
			code, _, stderr := start(t, []string{"--kubeconfig=" + kubeconfig, "--health-address=",
				"--metrics-address=", flag + "=" + address}, nil)
			if code != 1 || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit code %d, on stderr:\n%swant 1, and nothing but %q", code, stderr, want)
			}
		})
	}
}

func TestHelpAndVersionAreNoFailures(t *testing.T) {
	for given, want := range map[string]string{
		"--help":    "Usage: bitcoin-controller [flags]",
		"-h":        "--workers=<number> (default 4)",
		"--version": "bitcoin-controller ",
	} {
		code, stdout, stderr := start(t, []string{given}, nil)
		if code != 0 || stderr != "" || !strings.Contains(stdout, want) {
			t.Errorf("%s: exit code %d, on stdout:\n%son stderr:\n%swant %q", given, code, stdout, stderr, want)
		}
		for line := range strings.Lines(stdout) {
			if columns := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); columns > 120 {
				t.Errorf("%s: a line of %d columns: %s", given, columns, line)
			}
		}
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("only Linux has /dev/full")
	}
	defer full.Close()
	none := func(string) string { return "" }
	if _, err := parse([]string{"--version"}, none, full); errors.Is(err, flag.ErrHelp) || err == nil {
		t.Errorf("the version can't be written: %v", err)
	}
}

// TestEachFlagIsDocumented compares the table in docs/operating.md with the flags: names, variables, defaults, meanings.
func TestEachFlagIsDocumented(t *testing.T) {
	text, err := os.ReadFile("docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Flags\n")
	section, _, _ = strings.Cut(section, "\n## ")
	documented := map[string]string{}
	for line := range strings.Lines(section) {
		if cells := strings.SplitN(line, "|", 3); len(cells) == 3 && strings.HasPrefix(line, "| `--") {
			documented[strings.Trim(cells[1], " `")] = strings.TrimSpace(line)
		}
	}

	var s settings
	s.flags().VisitAll(func(f *flag.Flag) {
		code := func(text string) string {
			if text == "" {
				return ""
			}
			return "`" + text + "`"
		}
		environment, byDefault := code(variable(f.Name)), f.DefValue
		switch f.Name {
		case "version":
			environment = ""
		case "system-namespace": // that of the pod, where this runs in one
			byDefault = "bitcoin-controller"
		}
		_, meaning := flag.UnquoteUsage(f)
		name := "--" + f.Name
		want := strings.Join([]string{"|", code(name), "|", environment, "|", code(byDefault), "|", meaning, "|"}, " ")
		if got := documented[name]; strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
			t.Errorf("the row of %s in docs/operating.md is\n%s\nwant\n%s", name, got, want)
		}
		delete(documented, name)
	})
	if len(documented) > 0 {
		t.Errorf("documented, but no flags: %q", slices.Sorted(maps.Keys(documented)))
	}
}

func TestEachFlagSaysWhatItMayBe(t *testing.T) {
	var s settings
	checks := s.checks()
	s.flags().VisitAll(func(f *flag.Flag) {
		if checks[f.Name].allowed == "" || checks[f.Name].passed == nil {
			t.Errorf("--%s has no check", f.Name)
		}
		delete(checks, f.Name)
	})
	if len(checks) > 0 {
		t.Errorf("checks of no flag: %q", slices.Sorted(maps.Keys(checks)))
	}
}

func TestAllFlagsCanBeVariables(t *testing.T) {
	var s settings
	env := map[string]string{}
	for name, value := range map[string]string{
		"kubeconfig": "k", "node-image": "i", "workers": "7", "resync": "7s", "system-namespace": "s", "namespace": "n",
		"selector":     "shard=a",
		"leader-elect": "false", "health-address": "", "metrics-address": "[::1]:1", "node-metrics": "false",
		"profiling": "true", "log-level": "debug", "version": "true",
	} {
		env[variable(name)] = value
	}
	s.flags().VisitAll(func(f *flag.Flag) {
		if _, given := env[variable(f.Name)]; !given {
			t.Errorf("this test has no value for --%s", f.Name)
		}
	})
	got, err := parse(nil, func(name string) string { return env[name] }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if got.kubeconfig != "k" || got.NodeImage != "i" || got.Workers != 7 || got.Resync != 7*time.Second ||
		got.SystemNamespace != "s" || got.Namespace != "n" || got.Selector != "shard=a" ||
		got.Lease != 0 || got.metricsAddress != "[::1]:1" ||
		got.NodeMetrics || !got.profiling || got.logLevel.String() != "debug" {
		t.Errorf("by variables: %+v", got)
	}
	if got.healthAddress != ":8081" || got.showVersion {
		t.Errorf("an empty variable is none, and nor is one for --version: %+v", got)
	}
}
