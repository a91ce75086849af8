package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/subprocess"
)

// contender is a controller that is measured.
type contender struct {
	name string
	// program is its path; flags are more than all have.
	program string
	flags   []string
	// meshed says whether it has told all nodes of a network of each other, as far as it means to.
	meshed func(w *world, n *network) bool
	label  string // in names of files
	// scenarios are the only ones in which it takes part; empty for all.
	scenarios []string
}

// process is a contender that runs.
type process struct {
	cmd    *exec.Cmd
	pprof  string
	exited chan error
}

// stopTimeout is how long a controller may take to end.
const stopTimeout = 30 * time.Second

func (c contender) start(s settings, kubeconfig, dir string) (*process, error) {
	ports, err := subprocess.FreePorts(1)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, c.label+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	defer log.Close() // the child has its own descriptor
	p := &process{pprof: "127.0.0.1:" + ports[0], exited: make(chan error, 1)}
	p.cmd = exec.Command(c.program, append([]string{"--kubeconfig=" + kubeconfig, "--workers=" + strconv.Itoa(s.workers),
		"--resync=" + s.resync.String(), "--pprof-address=" + p.pprof}, c.flags...)...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = subprocess.DieWithParent()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	return p, nil
}

// stop ends the process, and waits until it has ended. One that had ended before is an error.
func (p *process) stop() error {
	select {
	case err := <-p.exited:
		return fmt.Errorf("the controller ended by itself: %w", errors.Join(err, os.ErrProcessDone))
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the controller: %w", err)
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(stopTimeout):
	}
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill the controller: %w", err)
	}
	<-p.exited
	return nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// liveHeap is what is reachable, in bytes, after the garbage has been collected.
func (p *process) liveHeap(ctx context.Context) (float64, error) {
	url := "http://" + p.pprof + "/debug/pprof/heap?gc=1&debug=1"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("read heap: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, fmt.Errorf("read heap: %w", err)
	}
	_, rest, found := bytes.Cut(text, []byte("# HeapAlloc = "))
	if !found {
		return 0, errors.New("read heap: the profile does not say HeapAlloc")
	}
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return strconv.ParseFloat(string(line), 64)
}

// clockTick is the unit of times in /proc: it is 100 Hz on all machines that Go runs on. proc(5), sysconf(_SC_CLK_TCK).
const clockTick = time.Second / 100

// cpu is what a process has used so far.
func cpu(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read CPU: %w", err)
	}
	// The name in brackets may hold anything. utime and stime are the 12th and 13th field after it.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks time.Duration
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read CPU: %w", err)
		}
		ticks += time.Duration(n)
	}
	return ticks * clockTick, nil
}

// memory are sizes of a process in bytes: what is resident, and the most that was.
type memory struct{ resident, peak float64 }

func memoryOf(pid int) (memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return memory{}, fmt.Errorf("read memory: %w", err)
	}
	var m memory
	for line := range strings.Lines(string(text)) {
		var to *float64
		switch name, _, _ := strings.Cut(line, ":"); name {
		case "VmRSS":
			to = &m.resident
		case "VmHWM":
			to = &m.peak
		default:
			continue
		}
		kilobytes, err := strconv.ParseFloat(strings.Fields(line)[1], 64)
		if err != nil {
			return memory{}, fmt.Errorf("read memory: %w", err)
		}
		*to = kilobytes * 1024
	}
	return m, nil
}

// machineCPU is what all processes of this machine have used so far, those included that are not ours.
func machineCPU() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read CPU: %w", err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(first) // cpu user nice system idle iowait irq softirq steal
	if len(fields) < 9 {
		return 0, fmt.Errorf("read CPU: /proc/stat begins with %q", first)
	}
	var ticks time.Duration
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read CPU: %w", err)
		}
		ticks += time.Duration(n)
	}
	return ticks * clockTick, nil
}
