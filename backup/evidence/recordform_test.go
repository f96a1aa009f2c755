package evidence

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/stelelog/stele/internal/control"
	"github.com/stelelog/stele/internal/keyroot"
)

// signAgain signs the line of root record n anew, after an edit, and has what follows it name it. It reports whether the edit changed anything.
func (w *world) signAgain(n int, edit func(line string) string) bool {
	sign := func(line string) []byte {
		file, err := note.Sign(&note.Note{Text: line}, w.signers["acme/keyservice/keys"])
		w.must(err)
		return file
	}
	line, _, _ := strings.Cut(string(w.records[n]), "\n\n")
	changed := edit(line)
	was := keyroot.Hash(w.records[n])
	w.records[n] = sign(changed + "\n")
	if n == 0 {
		next, _, _ := strings.Cut(string(w.records[1]), "\n\n")
		w.records[1] = sign(strings.Replace(next, was.String(), keyroot.Hash(w.records[0]).String(), 1) + "\n")
	}
	w.rewrite(func(e *control.Erased) {
		e.Before.Hash, e.Root.Hash = keyroot.Hash(w.records[0]), keyroot.Hash(w.records[1])
	})
	return changed != line
}

// spellings are other ways to write a record, and records that cannot be. A reader who is less strict than another would be told something else by
// whoever holds the key service's key.
func spellings() map[string]func(line string) string {
	swap := func(from, to string) func(string) string {
		return func(line string) string { return strings.Replace(line, from, to, 1) }
	}
	match := func(expr, to string) func(string) string {
		re := regexp.MustCompile(expr)
		return func(line string) string {
			at := re.FindStringSubmatchIndex(line)
			if at == nil {
				return line
			}
			return line[:at[0]] + string(re.ExpandString(nil, to, line, at)) + line[at[1]:]
		}
	}
	all := map[string]func(string) string{
		"nothing":                      func(line string) string { return line },
		"white space":                  swap(`,"by"`, `, "by"`),
		"a member more":                swap(`{"stele"`, `{"note":"x","stele"`),
		"a member more, at the end":    match(`}$`, `,"note":1}`),
		"a member twice":               swap(`"live":`, `"live":1,"live":`),
		"a member in another spelling": swap(`"live":`, `"Live":`),
		"members exchanged":            match(`("n":\d+),("prev":"[0-9a-f]+")`, `$2,$1`),
		"an empty list":                swap(`,"by"`, `,"burnt":[],"by"`),
		"burnt numbers":                swap(`,"by"`, `,"burnt":[7],"by"`),
		"a burnt number below 0":       swap(`,"by"`, `,"burnt":[-1],"by"`),
		"null for what is not there":   match(`}$`, `,"recovery":null}`),
		"null for a list":              match(`"packs":\[[0-9,]+\]`, `"packs":null`),
		"a fraction":                   match(`"live":(\d+)`, `"live":$1.0`),
		"an exponent":                  match(`"live":(\d+)`, `"live":${1}e0`),
		"a number as text":             match(`"live":(\d+)`, `"live":"$1"`),
		"a number that is too large":   match(`"control":(\d+)`, `"control":18446744073709551616`),
		"true for a number":            match(`"generation":1\b`, `"generation":true`),
		"upper-case digits":            match(`"archive":"a5`, `"archive":"A5`),
		"a short hash":                 match(`("prev":"[0-9a-f]{62})[0-9a-f]{2}"`, `$1"`),
		"base64 with unused bits":      match(`("salt":"[^"]{42})[^"]="`, `${1}/="`),
		"base64 without padding":       match(`("salt":"[^"]{43})="`, `$1"`),
		"base64 on two lines":          match(`("salt":"[^"]{20})`, `$1\n`),
		"an escaped letter":            swap(`"stele"`, `"\u0073tele"`),
		"an escaped value":             match(`"cluster":"c1"`, `"cluster":"\u00631"`),
		"a lone surrogate":             match(`"cluster":"c1"`, `"cluster":"\ud800"`),
		"a line separator":             match(`"cluster":"c1"`, "\"cluster\":\"\u2028\""),
		"a slash that is escaped":      match(`"by":"acme/`, `"by":"acme\/`),
		"an empty topic":               match(`"topic":"t1"`, `"topic":""`),
		"no topic":                     match(`,"topic":"t1"`, ``),
		"empty lanes":                  match(`"topic":"t1"`, `"topic":"t1","lanes":{}`),
		"lanes out of order":           match(`"topic":"t1"`, `"topic":"t1","lanes":{"b":{"next":1},"a":{"next":1}}`),
		"lanes":                        match(`"topic":"t1"`, `"topic":"t1","lanes":{"a":{"next":1},"b":{"next":-1,"gap":[[0,1]]}}`),
		"a gap of three":               match(`"topic":"t1"`, `"topic":"t1","lanes":{"a":{"next":1,"gap":[[0,1,2]]}}`),
		"a lane of null":               match(`"topic":"t1"`, `"topic":"t1","lanes":{"a":null}`),
		"time with zeros":              match(`"time":"([^"]+)Z"`, `"time":"$1.10Z"`),
		"time with nanoseconds":        match(`"time":"([^"]+)Z"`, `"time":"$1.000000001Z"`),
		"time with a zone":             match(`"time":"([^"]+)Z"`, `"time":"$1+00:00"`),
		"time with another zone":       match(`"time":"([^"]+)Z"`, `"time":"$1-01:00"`),
		"time with a zone of 25 hours": match(`"time":"([^"]+)Z"`, `"time":"$1-25:00"`),
		"time with a comma":            match(`"time":"([^"]+)Z"`, `"time":"$1,5Z"`),
		"time in small letters":        match(`"time":"([^"]+)Z"`, `"time":"${1}z"`),
		"the 31st of September":        match(`"time":"([^T]+)T`, `"time":"2026-09-31T`),
		"second 60":                    match(`(T\d\d:\d\d):\d\dZ`, `$1:60Z`),
		"generation 0":                 match(`"generation":\d+`, `"generation":0`),
		"live more than there are":     match(`"live":\d+`, `"live":999999`),
		"a pack that no run has":       match(`"packs":\[\{`, `"packs":[{"n":0,"sha256":"`+strings.Repeat("0", 64)+`","size":1},{`),
		"a pack of no bytes":           match(`"size":\d+`, `"size":0`),
		"a pack below 0":               match(`"size":\d+`, `"size":-1`),
		"packs not before the next":    match(`"next_pack":\d+`, `"next_pack":1`),
		"a link that leads nowhere":    match(`"index":\[\d+`, `"index":[77`),
		"a link of three":              match(`"keys":\[(\d+),`, `"keys":[`),
		"a link past a pack":           match(`"keys":\[(\d+),\d+`, `"keys":[$1,9999999999`),
		"no keys":                      match(`"keys":\[[0-9,]+\]`, `"keys":[0,0,0,0]`),
		"sealed cut":                   match(`"sealed":"[^"]{4}`, `"sealed":"`),
		"sealed null":                  match(`"sealed":"[^"]+"`, `"sealed":null`),
		"no set":                       match(`"sets":\[.*?\]\]`, `"sets":[]`),
		"sets exchanged":               match(`"sets":\[\["a"\],\["b"\]\]`, `"sets":[["b"],["a"]]`),
		"a set twice":                  match(`"sets":\[\["a"\],\["b"\]\]`, `"sets":[["a"],["a"]]`),
		"a set that says nothing more": match(`"sets":\[\["a"\],\["b"\]\]`, `"sets":[["a"],["a","b"]]`),
		"a set of null":                match(`"sets":\[\["a"\],\["b"\]\]`, `"sets":[null,["b"]]`),
		"another name":                 match(`"sets":\[\["a"\]`, `"sets":[["A"]`),
		"a share more":                 match(`"shares":\[`, `"shares":[{"set":0,"custodian":"a","share":"AQ=="},`),
		"a share of nothing":           match(`"share":"AQ=="`, `"share":""`),
		"a share of null":              match(`"share":"AQ=="`, `"share":null`),
		"a share of another set":       match(`"set":0`, `"set":1`),
		"fold and erasure":             match(`"erased":`, `"fold":{"added":0,"moved":0,"buried":0,"intake":0,"repeated":0,"replayed":0,"refused":0,"dead":0},"erased":`),
		"fold without a count":         match(`"moved":\d+,`, ``),
		"weeks too large":              match(`"dead":0`, `"dead":0,"weeks":[65536]`),
		"empty weeks":                  match(`"dead":0`, `"dead":0,"weeks":[]`),
		"weeks":                        match(`"dead":0`, `"dead":1,"weeks":[9,9]`),
		"another cause":                match(`"cause":"request"`, `"cause":"whim"`),
		"a cause that asks nobody":     match(`"cause":"request"`, `"cause":"ttl"`),
		"whole 0":                      match(`("request":"[0-9a-f]+","erased":\d+)`, `$1,"whole":0`),
		"whole too many":               match(`("request":"[0-9a-f]+","erased":\d+)`, `$1,"whole":99`),
		"whole and held":               match(`("request":"[0-9a-f]+","erased":\d+)`, `$1,"whole":1,"held":2`),
		"until":                        match(`("request":"[0-9a-f]+","erased":\d+)`, `$1,"until":"2026-10-05T08:00:00Z"`),
		"left":                         match(`("request":"[0-9a-f]+","erased":\d+)`, `$1,"left":3`),
		"left 0":                       match(`("request":"[0-9a-f]+","erased":\d+)`, `$1,"left":0`),
		"left before held":             match(`("request":"[0-9a-f]+","erased":\d+)`, `$1,"left":1,"held":2`),
		"a problem":                    match(`("request":"[0-9a-f]+","erased":\d+)`, `$1,"problem":"replica"`),
		"no spent":                     match(`"spent":\d+,`, ``),
		"a list of no bytes":           match(`("list":"[0-9a-f]+","size":)\d+`, `${1}0`),
		"a recovery":                   match(`}$`, `,"recovery":{"from":1,"lost":[],"missing":0,"approval":"`+strings.Repeat("0", 64)+`"}}`),
		"another version":              swap(`keyroot/v1`, `keyroot/v2`),
		"two lines":                    func(line string) string { return line + "\n" + line },
		"an array":                     func(line string) string { return "[" + line + "]" },
		"not JSON":                     func(line string) string { return line[:len(line)-1] },
	}
	return all
}

// Root records are read to the byte, and both verifiers refuse the same.
func TestPythonAgreesOnRecords(t *testing.T) {
	var all []*mutant
	refused := 0
	for name, edit := range spellings() {
		used := false
		for n := range 2 {
			w := newWorld(t)
			w.erase()
			if used = w.signAgain(n, edit) || used; name != "nothing" && !used {
				continue
			}
			m := &mutant{name: name + ", record " + string(rune('0'+n)), trust: w.trust(), file: w.file(w.parts())}
			all = append(all, m)
			v, _ := judge(t, m.trust, m.file)
			if name == "nothing" && v.Err != "" {
				t.Fatalf("signed anew: %+v", v)
			}
			if v.Err != "" {
				refused++
			}
		}
		if !used && name != "nothing" {
			t.Errorf("%s: no record changes by it", name)
		}
	}
	answers := askPython(t, all)
	for i, m := range all {
		want, _ := judge(t, m.trust, m.file)
		if got := answers[i]; got.Err != want.Err || !slices.Equal(got.Holds, want.Holds) || !slices.Equal(got.Missing, want.Missing) {
			_, err := Check(m.trust, m.file)
			t.Errorf("%s:\nGo     %s (%v)\nPython %s (%s)", m.name, want, err, got.verdict, got.why)
		}
	}
	t.Logf("%d files, %d refused", len(all), refused)
	if refused < len(all)/2 {
		t.Error("the edits do not reach what they should")
	}
}
