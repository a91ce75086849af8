package picture

import (
	"math"
)

const (
	// maxOnCircle is the largest number of nodes that share one circle; more of them are on concentric rings.
	maxOnCircle = 120
	// nodeGap is the least distance between the rims of two nodes, clearance that of an edge from nodes that it doesn't
	// join.
	nodeGap, clearance = 20, 4
)

type point struct{ x, y float64 }

func (p point) plus(q point) point         { return point{p.x + q.x, p.y + q.y} }
func (p point) times(factor float64) point { return point{p.x * factor, p.y * factor} }
func (p point) distance(q point) float64   { return math.Hypot(p.x-q.x, p.y-q.y) }

// placed is where the nodes of one side are, around (0,0).
type placed struct {
	at []point
	// extent is the distance from the middle to the outermost rim.
	extent float64
	// circle says whether they are on one, which has room for edges inside.
	circle bool
}

// place places nodes of a radius, the first at the top, and from there on clockwise.
func place(count int, radius float64) placed {
	switch {
	case count == 1:
		return placed{at: []point{{}}, extent: radius, circle: true}
	case count <= maxOnCircle:
		circle := max(float64(count)*(2*radius+nodeGap)/(2*math.Pi), 2.6*radius)
		return placed{at: onRing(count, circle), extent: circle + radius, circle: true}
	}
	return placeOnRings(count, radius)
}

// placeOnRings fills rings from the innermost, where the lowest ordinals are. Those are the nodes with most peers.
func placeOnRings(count int, radius float64) placed {
	step := 2*radius + nodeGap
	p := placed{}
	ring := 2 * step
	for len(p.at) < count {
		room := min(int(2*math.Pi*ring/step), count-len(p.at))
		p.at = append(p.at, onRing(room, ring)...)
		p.extent = ring + radius
		ring += step
	}
	return p
}

func onRing(count int, radius float64) (at []point) {
	for i := range count {
		sin, cos := math.Sincos(2*math.Pi*float64(i)/float64(count) - math.Pi/2)
		at = append(at, point{radius * cos, radius * sin})
	}
	return at
}

// bend returns the control point of a curve between two nodes on a circle around the middle. It is bent towards the
// middle as little as it takes to run clear of all other nodes.
func bend(from, to, middle point, others []point, radius float64) point {
	half := from.plus(to).times(0.5)
	for step := range 11 {
		control := half.plus(middle.plus(half.times(-1)).times(float64(step) / 10))
		if clear(from, control, to, others, radius+clearance) {
			return control
		}
	}
	return half
}

// clear says whether a curve keeps that distance to all nodes but those at its ends.
func clear(from, control, to point, others []point, distance float64) bool {
	for _, other := range others {
		if other == from || other == to {
			continue
		}
		for i := range 33 {
			if other.distance(curve(from, control, to, float64(i)/32)) < distance {
				return false
			}
		}
	}
	return true
}

// curve is a point of a quadratic Bézier curve, t being 0 at its beginning and 1 at its end.
func curve(from, control, to point, t float64) point {
	return from.times((1 - t) * (1 - t)).plus(control.times(2 * t * (1 - t))).plus(to.times(t * t))
}
