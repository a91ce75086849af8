// Package children builds the objects that a network consists of: one file a kind, whose golden YAML is in testdata.
// The builders are pure. What they render for an existing spec is an API towards the networks that run: another pod
// template or bitcoin.conf restarts every node, see [PodTemplate].
package children
