// Package faults puts a proxy between a controller and the apiserver, which makes faults by a plan: a crash around a
// write, an answer that is lost, late or an error, a watch that shows less than there is. A plan is data, so one that
// found something is printed, kept and run again.
package faults

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Kind is what goes wrong.
type Kind string

// What may become of a request. After says that the apiserver has done what it was asked.
const (
	CrashBefore   Kind = "CrashBefore"   // the controller is killed, and its request never arrives
	CrashAfter    Kind = "CrashAfter"    // it is killed before it hears that the request succeeded
	LoseReply     Kind = "LoseReply"     // done, and the connection ends without an answer
	Reset         Kind = "Reset"         // not done, and the connection ends without an answer
	Hang          Kind = "Hang"          // not done, and no answer for as long as the client waits
	Delay         Kind = "Delay"         // done, a second late
	Conflict      Kind = "Conflict"      // 409
	TooMany       Kind = "TooMany"       // 429, with Retry-After: 1
	InternalError Kind = "InternalError" // 500
	Unavailable   Kind = "Unavailable"   // 503
	DropEvent     Kind = "DropEvent"     // an event of a watch is left out
	Expire        Kind = "Expire"        // a watch ends in 410 instead of an event
)

// Plan is what goes wrong, all of it; the zero Plan is nothing.
type Plan struct {
	Seed  uint64 `json:"seed,omitempty"` // of the rules that have a Share
	Rules []Rule `json:"rules"`
}

// Rule has a fault befall requests. Empty fields match all. Of a watch it is the events that are counted, not requests.
type Rule struct {
	Kind      Kind    `json:"kind"`
	Class     Class   `json:"class"`
	Resource  string  `json:"resource,omitempty"`
	Namespace string  `json:"namespace,omitempty"`
	Type      string  `json:"type,omitempty"`  // of an event: ADDED, MODIFIED, DELETED
	Nth       int     `json:"nth,omitempty"`   // the only one it befalls, from 1
	Share     float64 `json:"share,omitempty"` // of those it befalls, at random; without Nth and Share it is all
}

// Outage is the plan of an apiserver that is out of reach: what is asked gets no answer.
func Outage() Plan {
	var plan Plan
	for _, class := range []Class{Write, Read, List, Open, Other} {
		plan.Rules = append(plan.Rules, Rule{Kind: Reset, Class: class})
	}
	return plan
}

// Weather is a plan in which a share of all requests fails, in each way that requests can fail in.
func Weather(seed uint64, share float64) Plan {
	plan := Plan{Seed: seed}
	for _, class := range []Class{Write, Read, List, Open, Other} {
		var rules []Rule
		for _, kind := range kinds(class) {
			if kind != CrashBefore && kind != CrashAfter && kind != Hang {
				rules = append(rules, Rule{Kind: kind, Class: class})
			}
		}
		for i := range rules {
			// Of those that are left by the rules before.
			rules[i].Share = share / float64(len(rules)) / (1 - share*float64(i)/float64(len(rules)))
		}
		plan.Rules = append(plan.Rules, rules...)
	}
	return plan
}

// String is the plan as one line of JSON, which ParsePlan reads.
func (p Plan) String() string {
	text, err := json.Marshal(p)
	if err != nil {
		return err.Error() // a NaN, which is no share
	}
	return string(text)
}

// ParsePlan reads a plan from JSON, and refuses kinds that there are not.
func ParsePlan(text string) (Plan, error) {
	var plan Plan
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&plan); err != nil {
		return Plan{}, fmt.Errorf("parse plan: %w", err)
	}
	for _, rule := range plan.Rules {
		if !slices.Contains(kinds(rule.Class), rule.Kind) {
			return Plan{}, fmt.Errorf("parse plan: nothing of the class %q can %q", rule.Class, rule.Kind)
		}
	}
	return plan, nil
}

// kinds are what may befall a class.
func kinds(class Class) []Kind {
	switch class {
	case Watch:
		return []Kind{DropEvent, Expire}
	case Open:
		return []Kind{Reset, Hang, TooMany, InternalError, Unavailable}
	case Write, Read, List, Other:
		return []Kind{CrashBefore, CrashAfter, LoseReply, Reset, Hang, Delay, Conflict, TooMany, InternalError,
			Unavailable}
	}
	return nil
}

func (r Rule) matches(is Request) bool {
	return r.Class == is.Class && (r.Resource == "" || r.Resource == is.Resource) &&
		(r.Namespace == "" || r.Namespace == is.Namespace)
}
