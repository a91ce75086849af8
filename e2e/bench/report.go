package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bitcoin-controller/bitcoin-controller/e2e/machine"
)

// report is all that was measured.
type report struct {
	// Machines are where: more than one if a report was gone on with on another, or with another commit.
	Machines []machine.Machine `json:"machines"`
	Settings string            `json:"settings"`
	Begun    string            `json:"begun"`
	Figures  []values          `json:"figures"`
	Targets  []result          `json:"targets"`
	Busy     []load            `json:"busy"`
	Notes    []string          `json:"notes,omitempty"`
	Failures []string          `json:"failures,omitempty"`
}

// values are those of a figure, of one size and one contender, one a run.
type values struct {
	Figure    string    `json:"figure"`
	Unit      string    `json:"unit,omitempty"`
	Size      int       `json:"size"`
	Contender string    `json:"contender"`
	Runs      []float64 `json:"runs"`
	Median    float64   `json:"median"`
	Min       float64   `json:"min"`
	Max       float64   `json:"max"`
	// Late is how many of the runs were given up at the limit, which is their value.
	Late int `json:"late,omitempty"`
}

// load is how many CPUs each part kept busy while a scenario ran.
type load struct {
	Scenario  string             `json:"scenario"`
	Size      int                `json:"size"`
	Contender string             `json:"contender"`
	Run       int                `json:"run"`
	Seconds   float64            `json:"seconds"`
	Cores     map[string]float64 `json:"cores"`
}

// recorder writes down what a scenario measures.
type recorder struct {
	report    *report
	contender string
	size      int
	selected  func(figure string) bool
	prefix    string
}

// instead names the figures of a part that another scenario has, too.
func (r recorder) instead(prefix string) recorder {
	r.prefix = prefix
	return r
}

func (r recorder) add(name string, value float64) { r.record(name, value, false) }

// addTime adds a duration in seconds, which is the limit if it was not over by then.
func (r recorder) addTime(name string, took time.Duration, late bool, limit time.Duration) {
	if late {
		took = limit
	}
	r.record(name, took.Seconds(), late)
}

func (r recorder) note(text string) {
	r.report.Notes = append(r.report.Notes, fmt.Sprintf("%s, %d: %s%s", r.contender, r.size, r.prefix, text))
}

func (r recorder) record(name string, value float64, late bool) {
	f, known := figureNamed(r.prefix + name)
	if !known && r.prefix != "" {
		return // the part measures more than is told of here
	}
	if !known {
		panic("there is no figure " + name)
	}
	if !r.selected(f.name) || math.IsNaN(value) {
		return
	}
	fmt.Fprintf(os.Stderr, "%-10s %6d  %s: %s\n", r.contender, r.size, f.name, format(value, f.unit))
	v := values{Runs: []float64{value}}
	if late {
		v.Late = 1
	}
	r.report.of(f, r.size, r.contender).add(v)
}

// add adds runs to those that there are.
func (v *values) add(more values) {
	v.Runs, v.Late = append(v.Runs, more.Runs...), v.Late+more.Late
	v.Median, v.Min, v.Max = median(v.Runs), slices.Min(v.Runs), slices.Max(v.Runs)
}

// add adds what was measured after that, and judges all of it.
func (r *report) add(measured *report) {
	for _, v := range measured.Figures {
		r.of(figure{name: v.Figure, unit: v.Unit}, v.Size, v.Contender).add(v)
	}
	r.Busy, r.Notes = append(r.Busy, measured.Busy...), append(r.Notes, measured.Notes...)
	r.judge()
}

// has says whether that was measured.
func (r *report) has(scenario string, size int, contender string, run int) bool {
	return slices.ContainsFunc(r.Busy, func(l load) bool {
		return l.Scenario == scenario && l.Size == size && l.Contender == contender && l.Run == run
	})
}

// of finds the values of a figure, or begins them.
func (r *report) of(f figure, size int, contender string) *values {
	if v := r.find(f.name, size, contender); v != nil {
		return v
	}
	r.Figures = append(r.Figures, values{Figure: f.name, Unit: f.unit, Size: size, Contender: contender})
	return &r.Figures[len(r.Figures)-1]
}

// find returns nil if there are no such values.
func (r *report) find(figure string, size int, contender string) *values {
	i := slices.IndexFunc(r.Figures, func(v values) bool {
		return v.Figure == figure && v.Size == size && v.Contender == contender
	})
	if i < 0 {
		return nil
	}
	return &r.Figures[i]
}

// median is the middle one; the mean of the two in the middle if there is none.
func median(runs []float64) float64 {
	sorted := slices.Sorted(slices.Values(runs))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

// format is a value with its unit, to three digits.
func format(value float64, unit string) string {
	text := strconv.FormatFloat(value, 'f', -1, 64)
	switch {
	case unit == "B" && math.Abs(value) >= 1e6:
		return digits(value/1e6) + " MB"
	case unit == "B" && math.Abs(value) >= 1e3:
		return digits(value/1e3) + " kB"
	case value != math.Trunc(value) || math.Abs(value) >= 1e15:
		text = digits(value)
	}
	if strings.HasPrefix(unit, "/") || unit == "" {
		return text + unit
	}
	return text + " " + unit
}

// digits are the three that matter, and no exponent.
func digits(value float64) string {
	if value == 0 {
		return "0"
	}
	after := max(0, 2-int(math.Floor(math.Log10(math.Abs(value)))))
	return strconv.FormatFloat(value, 'f', after, 64)
}

// cell is the median with the spread of all runs.
func (v *values) cell() string {
	if v == nil {
		return ""
	}
	text := format(v.Median, v.Unit)
	if v.Late > 0 {
		text = fmt.Sprintf("> %s in %d of %d", format(v.Max, v.Unit), v.Late, len(v.Runs))
	} else if v.Min != v.Max {
		text += fmt.Sprintf(" (%s to %s)", format(v.Min, v.Unit), format(v.Max, v.Unit))
	}
	return text
}

// ratio is how many times the other value ours is: what it saves.
func ratio(ours, other *values) string {
	switch {
	case ours == nil || other == nil || ours.Median == other.Median:
		return ""
	case ours.Median == 0:
		return "all"
	}
	return digits(other.Median/ours.Median) + "x"
}

// write keeps the report as Markdown and as JSON: path without an extension.
func (r *report) write(path string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	if err := os.WriteFile(path+".json", append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	if err := os.WriteFile(path+".md", []byte(r.markdown()), 0o644); err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	return nil
}

// readReport reads what write has written.
func readReport(path string) (*report, error) {
	text, err := os.ReadFile(path + ".json")
	if err != nil {
		return nil, fmt.Errorf("read figures: %w", err)
	}
	r := &report{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("read figures of %s.json: %w", path, err)
	}
	return r, nil
}

func (r *report) markdown() string {
	var text strings.Builder
	text.WriteString(`# Figures

What ` + "`make bench`" + ` printed: the controller beside the one that most teams would write (` + "`e2e/rival`" + `), in the
same simulated cluster: a real apiserver, etcd and StatefulSet controller, fake bitcoinds. Generated, so don't edit it.

`)
	for _, m := range r.Machines {
		fmt.Fprintf(&text, "- %s; %s\n", m, m.Versions())
	}
	fmt.Fprintf(&text, `- %s; begun %s

Each cell is the median of all runs (%s of each), with the least and the most. The ratio is the rival's median by ours.
`, r.Settings, r.Begun, r.runs())
	r.writeTargets(&text)
	for _, name := range []string{"apply", "life", "fleet", "foreign"} {
		r.writeScenario(&text, name)
	}
	r.writeSlopes(&text)
	r.writeBusy(&text)
	if len(r.Failures) > 0 {
		text.WriteString("\n## Failures\n\n")
		for _, failure := range r.Failures {
			fmt.Fprintf(&text, "- %s\n", failure)
		}
	}
	return text.String()
}

// runs says how many there are of each scenario: fewer than the settings ask for, if the report is to be gone on with.
func (r *report) runs() string {
	least, most := math.MaxInt, 0
	for _, l := range meanLoads(r.Busy) {
		least, most = min(least, l.Run), max(most, l.Run)
	}
	if least >= most {
		return strconv.Itoa(most)
	}
	return fmt.Sprintf("%d to %d", least, most)
}

// writeScenario writes a table of all figures of a scenario that were measured.
func (r *report) writeScenario(text *strings.Builder, scenario string) {
	var rows []string
	others := r.rivalsIn(scenario)
	for _, f := range figures {
		if f.scenario != scenario {
			continue
		}
		for _, size := range r.sizes(f.name) {
			cells := ""
			ours := r.find(f.name, size, oursName)
			for _, contender := range others {
				value := r.find(f.name, size, contender)
				cells += fmt.Sprintf(" %s | %s |", value.cell(), ratio(ours, value))
			}
			rows = append(rows, fmt.Sprintf("| %s | %d | %s |%s", f.name, size, ours.cell(), cells))
		}
	}
	if len(rows) == 0 {
		return
	}
	head := fmt.Sprintf("| figure | %s | ours |", scenarios[scenario].sized)
	for _, contender := range others {
		head += fmt.Sprintf(" %s | ratio |", contender)
	}
	fmt.Fprintf(text, "\n## %s\n\n%s\n|%s\n%s\n\n", strings.ToUpper(scenario[:1])+scenario[1:], head,
		strings.Repeat("---|", 3+2*len(others)), strings.Join(rows, "\n"))
	for _, f := range figures {
		if f.scenario == scenario && f.how != "the same" && len(r.sizes(f.name)) > 0 {
			fmt.Fprintf(text, "- %s: %s\n", f.name, f.how)
		}
	}
}

// rivalsIn are those of which there are values in a scenario.
func (r *report) rivalsIn(scenario string) []string {
	return slices.DeleteFunc(slices.Clone(rivals), func(contender string) bool {
		return !slices.ContainsFunc(r.Figures, func(v values) bool {
			f, _ := figureNamed(v.Figure)
			return v.Contender == contender && f.scenario == scenario
		})
	})
}

// sizes are those of which there are values.
func (r *report) sizes(figure string) []int {
	var sizes []int
	for _, v := range r.Figures {
		if v.Figure == figure && !slices.Contains(sizes, v.Size) {
			sizes = append(sizes, v.Size)
		}
	}
	slices.Sort(sizes)
	return sizes
}

// writeSlopes writes what one network more costs, between the fleets of the smallest and of the largest size.
func (r *report) writeSlopes(text *strings.Builder) {
	begun := false
	for _, name := range slopes {
		sizes := r.sizes(name)
		if len(sizes) < 2 {
			continue
		}
		if !begun {
			text.WriteString("\n## One network more\n\nThe slope between the smallest and the largest fleet.\n\n" +
				"| figure | networks of 5 | ours | rival |\n|---|---|---|---|\n")
			begun = true
		}
		low, high := sizes[0], sizes[len(sizes)-1]
		fmt.Fprintf(text, "| %s | %d to %d | %s | %s |\n", name, low, high, r.slope(name, low, high, oursName),
			r.slope(name, low, high, rivalName))
	}
}

func (r *report) slope(name string, low, high int, contender string) string {
	from, to := r.find(name, low, contender), r.find(name, high, contender)
	if from == nil || to == nil {
		return ""
	}
	return format((to.Median-from.Median)/float64(high-low), from.Unit)
}

// writeBusy writes how busy the harness was beside the controllers.
func (r *report) writeBusy(text *strings.Builder) {
	if len(r.Busy)*len(r.Machines) == 0 {
		return
	}
	parts := []string{"controller", "harness", "kube-apiserver", "etcd", "kube-controller-manager", "machine"}
	fmt.Fprintf(text, "\n## How busy all were\n\nCPUs in the mean of all runs, of %d. The harness is the nodes, the proxies and "+
		"whoever looks; machine is all that ran on it. One cluster at a time is measured; harness and machine also "+
		"have the idle time of others, which passes meanwhile, unless these are of %d networks.\n\n"+
		"| scenario | size | contender | runs | s | %s |\n|%s\n",
		r.Machines[0].CPUs, large, strings.Join(parts, " | "), strings.Repeat("---|", 5+len(parts)))
	for _, l := range meanLoads(r.Busy) {
		fmt.Fprintf(text, "| %s | %d | %s | %d | %.0f |", l.Scenario, l.Size, l.Contender, l.Run, l.Seconds)
		for _, part := range parts {
			fmt.Fprintf(text, " %.2f |", l.Cores[part])
		}
		text.WriteString("\n")
	}
}

// meanLoads are the means over all runs of the same, of which Run is the number.
func meanLoads(loads []load) (means []load) {
	for _, l := range loads {
		i := slices.IndexFunc(means, func(m load) bool {
			return m.Scenario == l.Scenario && m.Size == l.Size && m.Contender == l.Contender
		})
		if i < 0 {
			i = len(means)
			means = append(means, load{Scenario: l.Scenario, Size: l.Size, Contender: l.Contender, Cores: map[string]float64{}})
		}
		m := &means[i]
		m.Run++
		m.Seconds += (l.Seconds - m.Seconds) / float64(m.Run)
		for part, cores := range l.Cores {
			m.Cores[part] += (cores - m.Cores[part]) / float64(m.Run)
		}
	}
	return means
}
