// Package machine tells where something was measured, and of what: for reports.
package machine

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Machine is one, with what ran on it.
type Machine struct {
	CPU        string  `json:"cpu"`
	CPUs       int     `json:"cpus"`
	Memory     float64 `json:"memory"` // bytes
	Kernel     string  `json:"kernel"`
	Go         string  `json:"go"`
	Kubernetes string  `json:"kubernetes"`
	Commit     string  `json:"commit"`
}

// This is the machine that this runs on; kube is Kubernetes in one binary. It fails if anything of it can't be told:
// figures without it are worth nothing.
func This(kube string) (Machine, error) {
	m := Machine{CPUs: runtime.NumCPU(), Go: runtime.Version()}
	var err error
	if m.CPU, err = valueIn("/proc/cpuinfo", "model name"); err != nil {
		return m, err
	}
	memory, err := valueIn("/proc/meminfo", "MemTotal")
	if err != nil {
		return m, err
	}
	if _, err := fmt.Sscanf(memory, "%f kB", &m.Memory); err != nil {
		return m, fmt.Errorf("read /proc/meminfo: %w", err)
	}
	m.Memory *= 1024
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return m, err
	}
	m.Kernel = strings.TrimSpace(string(kernel))
	if m.Kubernetes, err = output(kube, "kube-apiserver", "--version"); err != nil {
		return m, err
	}
	m.Commit, err = commit()
	return m, err
}

// commit is that of the checkout, with "-dirty" if files of it are changed. The reports are written while it is measured.
func commit() (string, error) {
	name, err := output("git", "describe", "--always", "--abbrev=12", "--exclude=*")
	if err != nil {
		return "", err
	}
	changed, err := output("git", "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs/fault-report.md",
		":(top,exclude)docs/figures.*")
	if changed != "" {
		name += "-dirty"
	}
	return name, err
}

// valueIn is the first value with that name in a file of lines "name: value".
func valueIn(path, name string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), nil
		}
	}
	return "", fmt.Errorf("read %s: it has no %s", path, name)
}

func output(name string, arguments ...string) (string, error) {
	text, err := exec.Command(name, arguments...).Output()
	if err != nil {
		return "", fmt.Errorf("run %s %s: %w", name, strings.Join(arguments, " "), err)
	}
	return strings.TrimSpace(string(text)), nil
}

func (m Machine) String() string {
	return fmt.Sprintf("%d CPUs (%s), %.0f GB, Linux %s", m.CPUs, m.CPU, m.Memory/1e9, m.Kernel)
}

// Versions are those of the software.
func (m Machine) Versions() string {
	return fmt.Sprintf("commit %s, %s, %s", m.Commit, m.Go, m.Kubernetes)
}
