package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdLines compares two files of JSON lines as multisets: lines FILE FILE
func cmdLines(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: lines FILE FILE")
	}
	read := func(name string) []string {
		lines := strings.Split(strings.TrimSpace(ts.ReadFile(name)), "\n")
		slices.Sort(lines)
		return lines
	}
	a, b := read(args[0]), read(args[1])
	if slices.Equal(a, b) == neg {
		ts.Fatalf("%s and %s: equal is %v\n%s\n--\n%s", args[0], args[1], !neg, strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
}

// cmdJSON looks into the one JSON object that a file holds: json FILE PATH VALUE. PATH is a.b.0.c; VALUE is a
// string's text, or JSON. A PATH that ends in len counts.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: json FILE PATH VALUE")
	}
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
	var v any
	ts.Check(dec.Decode(&v))
	if dec.More() {
		ts.Fatalf("%s holds more than one JSON value", args[0])
	}
	got := at(ts, v, args[1])
	if (got == args[2]) == neg {
		ts.Fatalf("%s is %s, want %s (negated: %v)", args[1], got, args[2], neg)
	}
}

// cmdLet sets a variable to what cmdJSON would compare: let NAME FILE PATH
func cmdLet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: let NAME FILE PATH")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &v))
	ts.Setenv(args[0], at(ts, v, args[2]))
}

func at(ts *testscript.TestScript, v any, path string) string {
	for _, step := range strings.Split(path, ".") {
		v = into(v, step)
	}
	if text, ok := v.(string); ok {
		return text
	}
	raw, err := json.Marshal(v)
	ts.Check(err)
	return string(raw)
}

func into(v any, step string) any {
	if step == "len" {
		list, _ := v.([]any)
		return len(list)
	}
	switch v := v.(type) {
	case map[string]any:
		return v[step]
	case []any:
		var i int
		if _, err := fmt.Sscan(step, &i); err == nil && i < len(v) {
			return v[i]
		}
	}
	return nil
}
