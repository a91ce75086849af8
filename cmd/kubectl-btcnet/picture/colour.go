package picture

import (
	"fmt"
	"math"
)

// hex is a colour as Mermaid and Graphviz read it: as #rrggbb.
func hex(colour string) string {
	var hue, saturation, lightness float64
	if _, err := fmt.Sscanf(colour, "hsl(%f,%f%%,%f%%)", &hue, &saturation, &lightness); err != nil {
		return colour
	}
	chroma := saturation / 100 * min(lightness/100, 1-lightness/100)
	part := func(n float64) int {
		k := math.Mod(n+hue/30, 12)
		return int(math.Round(255 * (lightness/100 - chroma*max(-1, min(k-3, 9-k, 1)))))
	}
	return fmt.Sprintf("#%02x%02x%02x", part(0), part(8), part(4))
}
