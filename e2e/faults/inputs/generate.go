package inputs

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// huge is how long a text is that nobody means, in bytes. An apiserver reads requests of up to 3 MiB.
const huge = 1 << 20

// Generate returns all mutations of one field, and so many of two fields at once, which the seed chooses. Those of the
// same seed are the same, in the same order.
func Generate(spec *Schema, bases map[string]Base, seed uint64, pairs int) []Mutation {
	var all []Mutation
	byBase := map[string][]Mutation{}
	for _, name := range slices.Sorted(maps.Keys(bases)) {
		g := generator{base: name, seen: map[string]bool{}, shapes: map[string]bool{}}
		for _, of := range bases[name].Of {
			path := strings.Split(of, ".")
			schema, value := spec, any(bases[name].Spec)
			for _, step := range path {
				object, _ := value.(map[string]any)
				schema, value = schema.Properties[step], object[step]
			}
			g.field(schema, path, of, clone(value))
		}
		byBase[name] = g.made
		all = append(all, g.made...)
	}
	single := len(all)
	random := rand.New(rand.NewPCG(seed, 0))
	names := map[string]bool{}
	for len(names) < pairs {
		// Most are where most mutations are, as fields are.
		one := all[random.IntN(single)]
		of := byBase[one.Base]
		other := of[random.IntN(len(of))]
		if name := one.Name + ", " + other.Name; !meet(one, other) && !names[name] {
			names[name] = true
			changes := append(slices.Clone(one.Changes), other.Changes...)
			all = append(all, Mutation{Base: one.Base, Name: name, Changes: changes})
		}
	}
	return all
}

// meet says whether one path leads through the field of the other, or to its neighbour in a list, which removals move.
func meet(one, other Mutation) bool {
	a, b := one.Changes[0].Path, other.Changes[0].Path
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		_, err := strconv.Atoi(a[i])
		return err == nil
	}
	return true
}

// generator makes the mutations of a base.
type generator struct {
	base string
	// seen are the fields of the schema that it has mutated: items of a list are mutated by the first that has them.
	seen map[string]bool
	// shapes are the schemas of objects that it has mutated, as JSON. Another field of the same shape, as selectors have
	// in many places, is mutated briefly.
	shapes map[string]bool
	brief  bool
	made   []Mutation
}

func (g *generator) add(how string, change Change) {
	g.made = append(g.made, Mutation{Base: g.base, Name: change.Field() + ": " + how, Changes: []Change{change}})
}

// field mutates a field that has a value, and all that is below it. The kind is its path in the schema.
func (g *generator) field(s *Schema, path []string, kind string, value any) {
	if g.seen[kind] {
		return
	}
	g.seen[kind] = true
	path = slices.Clone(path)
	defer func(before bool) { g.brief = before }(g.brief)
	g.brief = g.brief || g.repeats(s)
	g.add("removed", Change{Path: path, Remove: true})
	for _, how := range slices.Sorted(maps.Keys(odd)) {
		if !g.brief || slices.Contains(briefly, how) {
			g.set(path, value, how, odd[how])
		}
	}
	switch {
	case s.IntOrString:
		g.quantity(path, value)
	case s.Type == "integer":
		g.integer(s, path, value)
	case s.Type == "string":
		g.text(s, path, value)
	case s.Type == "array":
		g.list(s, path, value.([]any))
	case s.Type == "object":
		g.object(s, path, value.(map[string]any))
	}
	g.below(s, path, kind, value)
}

// repeats says whether an object of the same shape was mutated before.
func (g *generator) repeats(s *Schema) bool {
	if len(s.Properties) == 0 {
		return false
	}
	shape, err := json.Marshal(s)
	if err != nil { // it was read from JSON
		panic(err)
	}
	before := g.shapes[string(shape)]
	g.shapes[string(shape)] = true
	return before
}

// briefly are the keys of odd, texts and keys that are tried wherever a shape repeats.
var briefly = []string{
	"null", "seven", "an empty object", "an empty text", "an object with a field that nobody knows",
	"letters of other scripts",
	"a key with a space",
}

// below mutates what a value consists of.
func (g *generator) below(s *Schema, path []string, kind string, value any) {
	switch value := value.(type) {
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			if below := s.Properties[name]; below != nil {
				g.field(below, append(path, name), join(kind, name), value[name])
			} else if s.AdditionalProperties != nil {
				g.field(s.AdditionalProperties, append(path, name), kind+"{}", value[name])
			}
		}
	case []any:
		for i, item := range value {
			at := append(path, strconv.Itoa(i))
			if g.seen[kind+"[]"] {
				g.below(s.Items, at, kind+"[]", item) // it may have other fields than the first
			}
			g.field(s.Items, at, kind+"[]", item)
		}
	}
}

// odd is given to every field, whatever its type is.
var odd = map[string]any{
	"null": nil, "a word": "word", "an empty text": "", "seven": int64(7), "zero": int64(0), "minus one": int64(-1),
	"a fraction": 1.5, "true": true, "false": false, "an empty list": []any{}, "a list of a null": []any{nil},
	"an empty object": map[string]any{}, "an object with a field that nobody knows": map[string]any{"nobody": "knows"},
}

// set adds a mutation unless the field has that value.
func (g *generator) set(path []string, now any, how string, to any) {
	if !reflect.DeepEqual(now, to) {
		g.add(how, Change{Path: path, Value: to})
	}
}

// many adds a mutation that is large, unless the field is so.
func (g *generator) many(path []string, now any, how string, many Many) {
	if to, err := many.value(); err == nil && reflect.DeepEqual(now, to) {
		return
	}
	g.add(fmt.Sprintf("%s, %d", how, many.Times), Change{Path: path, Many: &many})
}

func (g *generator) integer(s *Schema, path []string, now any) {
	least, most := int64(math.MinInt64), int64(math.MaxInt64)
	if s.Format == "int32" {
		least, most = math.MinInt32, math.MaxInt32
	}
	g.set(path, now, "the least of its format", least)
	g.set(path, now, "the most of its format", most)
	g.set(path, now, "beyond all numbers", 1e30)
	g.set(path, now, "in quotes", fmt.Sprint(now))
	if whole, ok := now.(int64); ok {
		g.set(path, now, "one more", whole+1)
		g.set(path, now, "one less", whole-1)
	}
	if s.Format == "int32" {
		g.set(path, now, "one beyond its format", most+1)
	}
	if s.Minimum != nil {
		g.set(path, now, "the minimum", *s.Minimum)
		g.set(path, now, "one below the minimum", *s.Minimum-1)
	}
	if s.Maximum != nil {
		g.set(path, now, "the maximum", *s.Maximum)
		g.set(path, now, "one beyond the maximum", *s.Maximum+1)
	}
}

// texts are given to every text.
var texts = map[string]string{
	"letters of other scripts": "Größe-値-\u202eabc", "beyond the basic plane": "😀", "a space": "a b",
	"a space around": " a ",
	"a line feed":    "a\nb", "a line feed at the end": "a\n", "a zero byte": "a\x00b", "an escape sequence": "\x1b[2J",
	"a path": "../../etc/passwd", "an upper case letter": "Aa", "a dot": "a.b", "dashes": "-a-", "a quote": `a"b'`,
	"a variable": "$(POD_IP)", "a template": "{{.Name}}", "a number": "1", "a bool": "true", "a slash": "a/b",
	"two slashes":   "a/b/c",
	"an assignment": "a=b", "63 letters": strings.Repeat("a", 63), "64 letters": strings.Repeat("a", 64),
	"labels of a domain, too long": strings.Repeat("a", 64) + ".b", "a long domain": strings.Repeat("a.", 130) + "a/b",
}

func (g *generator) text(s *Schema, path []string, now any) {
	for _, how := range slices.Sorted(maps.Keys(texts)) {
		if !g.brief || slices.Contains(briefly, how) {
			g.set(path, now, how, texts[how])
		}
	}
	for _, value := range s.Enum {
		g.set(path, now, fmt.Sprintf("%v", value), value)
		g.set(path, now, fmt.Sprintf("%v in upper case", value), strings.ToUpper(fmt.Sprint(value)))
	}
	if text, ok := now.(string); ok && len(s.Enum) == 0 {
		g.set(path, now, "a letter more", text+"x")
		g.set(path, now, "a letter less", text[:len(text)-1])
	}
	if s.MinLength != nil && *s.MinLength > 0 {
		g.many(path, now, "one letter less than the least", Many{As: "text", Of: "a", Times: *s.MinLength - 1})
	}
	if s.MaxLength != nil {
		g.many(path, now, "as many letters as may be", Many{As: "text", Of: "a", Times: *s.MaxLength})
		g.many(path, now, "one letter more than may be", Many{As: "text", Of: "a", Times: *s.MaxLength + 1})
	}
	if !g.brief {
		g.many(path, now, "huge", Many{As: "text", Of: "a", Times: huge})
	}
	if s.Format == "date-time" {
		for _, value := range []string{"2000-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "2099-01-01", "tomorrow",
			"9999-12-31T23:59:59Z", "2099-01-01T00:00:00+14:00", "0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z",
			"2098-12-31T23:59:60Z", "2099-01-01T00:00:00.123456789Z"} {
			g.set(path, now, "the time "+value, value)
		}
	}
}

func (g *generator) quantity(path []string, now any) {
	for _, value := range []string{"0", "1", "-1", "1.5", "1n", "0.0000000001", "1e3", "1e30", "1Ei",
		"9223372036854775808",
		"1GB", "1 Gi", "Gi", "１", "0x10", "1Gi\n", "+1", ".5", "5."} {
		g.set(path, now, fmt.Sprintf("the quantity %q", value), value)
	}
	g.set(path, now, "the most of int64", int64(math.MaxInt64))
	g.many(path, now, "as many digits", Many{As: "text", Of: "9", Times: 1000})
	g.many(path, now, "huge", Many{As: "text", Of: "9", Times: huge})
}

func (g *generator) list(s *Schema, path []string, now []any) {
	keys := s.ListMapKeys
	if s.ListType == "set" {
		keys = []string{""}
	}
	for i := range now {
		g.add(fmt.Sprintf("item %d twice", i), Change{Path: path, Value: append(slices.Clone(now), now[i])})
	}
	if len(now) > 1 {
		reversed := slices.Clone(now)
		slices.Reverse(reversed)
		g.set(path, now, "the other way round", reversed)
	}
	if s.MinItems != nil {
		g.many(path, now, "one item less than the least", Many{As: "list", Of: now[0], Times: *s.MinItems - 1, Distinct: keys})
	}
	if s.MaxItems != nil {
		g.many(path, now, "as many items as may be", Many{As: "list", Of: now[0], Times: *s.MaxItems, Distinct: keys})
		g.many(path, now, "one item more than may be", Many{As: "list", Of: now[0], Times: *s.MaxItems + 1, Distinct: keys})
	}
	if !g.brief {
		g.many(path, now, "a huge list", Many{As: "list", Of: now[0], Times: 2000, Distinct: keys})
	}
}

// keys are given to every map.
var keys = map[string]string{
	"an empty key": "", "a key in other scripts": "Größe", "a key with a space": "a b", "a key of two slashes": "a/b/c",
	"a key with a domain": "example.com/a", "a key of 63 letters": strings.Repeat("a", 63),
	"a key of 64 letters":    strings.Repeat("a", 64),
	"a key of a long domain": strings.Repeat("a.", 130) + "a/b", "a key of a malformed domain": "a..b/c",
	"a key of a wrong domain": "-a/b",
	"a key of Kubernetes":     "kubernetes.io/hostname", "a key that is a number": "1", "a key of one dash": "-",
	"a key of a long name in a domain": "a.b/" + strings.Repeat("a", 64),
}

func (g *generator) object(s *Schema, path []string, now map[string]any) {
	with := func(key string, value any) map[string]any {
		more := maps.Clone(now)
		more[key] = value
		return more
	}
	if s.AdditionalProperties == nil {
		g.set(path, now, "a field more", with("nobody", "knows"))
		return
	}
	first := now[slices.Min(slices.Collect(maps.Keys(now)))]
	for _, how := range slices.Sorted(maps.Keys(keys)) {
		if !g.brief || slices.Contains(briefly, how) {
			g.set(path, now, how, with(keys[how], first))
		}
	}
	if s.MaxProperties != nil {
		g.many(path, now, "as many keys as may be", Many{As: "map", Of: first, Times: *s.MaxProperties})
		g.many(path, now, "one key more than may be", Many{As: "map", Of: first, Times: *s.MaxProperties + 1})
		if most := s.AdditionalProperties.MaxLength; most != nil && *most > 63 {
			long := strings.Repeat("a", int(*most))
			g.many(path, now, "as many keys as may be, as long as may be", Many{As: "map", Of: long, Times: *s.MaxProperties})
		}
	}
	if !g.brief {
		g.many(path, now, "a huge map", Many{As: "map", Of: first, Times: 2000})
	}
}
