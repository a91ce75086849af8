package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// answer is the status and the text of what a server says to GET.
func answer(handler http.Handler, path string) (int, string) {
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
	return recorder.Code, strings.TrimSpace(recorder.Body.String())
}

func TestHealthIsWhatTheControllerSays(t *testing.T) {
	for name, row := range map[string]struct {
		live          error
		ready         bool
		livez, readyz string
	}{
		"it works":  {nil, true, "200 ok", "200 ok"},
		"it starts": {nil, false, "200 ok", "503 caches are still being filled"},
		"it hangs":  {errors.New("leader election hangs"), true, "500 leader election hangs", "200 ok"},
	} {
		t.Run(name, func(t *testing.T) {
			handler := health(func() error { return row.live }, func() bool { return row.ready })
			for path, want := range map[string]string{
				"/livez": row.livez, "/healthz": row.livez, "/readyz": row.readyz, "/metrics": "404 404 page not found",
			} {
				code, text := answer(handler, path)
				if got := fmt.Sprint(code, " ", text); got != want {
					t.Errorf("%s: %q, want %q", path, got, want)
				}
			}
		})
	}
}

func TestProfilesAreServedOnlyIfTheyAreWanted(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	for profiling, want := range map[bool]int{true: 200, false: 404} {
		handler := telemetry(metrics, profiling)
		for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline"} {
			if code, _ := answer(handler, path); code != want {
				t.Errorf("%s with --profiling=%t: %d, want %d", path, profiling, code, want)
			}
		}
		if code, _ := answer(handler, "/metrics"); code != http.StatusTeapot {
			t.Errorf("/metrics with --profiling=%t: %d", profiling, code)
		}
	}
}

// TestTheDeploymentFitsTheCommand holds its flags to those that there are, its ports and probes to the servers.
func TestTheDeploymentFitsTheCommand(t *testing.T) {
	container := deployedContainer(t)
	s, err := parse(container.Args, func(string) string { return "" }, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	ports := map[string]corev1.ContainerPort{}
	for _, port := range container.Ports {
		ports[port.Name] = port
	}
	for name, address := range map[string]string{"health": s.healthAddress, "metrics": s.metricsAddress} {
		if got := portOf(ports[name].ContainerPort); got != address {
			t.Errorf("port %s is %s, where the command serves it at %s", name, got, address)
		}
	}
	healthy := health(func() error { return nil }, func() bool { return true })
	for path, probe := range map[string]*corev1.Probe{
		"/livez": container.LivenessProbe, "/readyz": container.ReadinessProbe,
	} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || probe.HTTPGet.Port.String() != "health" {
			t.Errorf("the probe of %s is %v", path, probe)
			continue
		}
		if code, _ := answer(healthy, probe.HTTPGet.Path); code != 200 {
			t.Errorf("%s: %d", path, code)
		}
	}
	// A machine that is short of CPU answers late. A restart would cost it more.
	if live := container.LivenessProbe; live.TimeoutSeconds < 5 || live.FailureThreshold*live.PeriodSeconds < 60 {
		t.Errorf("a controller is restarted if it doesn't answer within %d s, %d times, every %d s", live.TimeoutSeconds,
			live.FailureThreshold, live.PeriodSeconds)
	}
}

func portOf(port int32) string { return ":" + strconv.Itoa(int(port)) }
