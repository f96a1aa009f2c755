package evidence

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
)

// jsonNode is a value of a line of JSON, as it is written. Members and elements keep their order, and may be there twice.
type jsonNode struct {
	raw   string // of a text, a number or a word
	open  byte   // '{' or '[', else 0
	names []string
	below []*jsonNode
}

var jsonToken = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|[-+.0-9eE]+|[a-z]+|[{}\[\],:]`)

// readJSON takes a line apart; nil if it is no JSON.
func readJSON(line string) *jsonNode {
	tokens := jsonToken.FindAllString(line, -1)
	n := readValue(&tokens)
	if n == nil || len(tokens) > 0 || n.String() != line {
		return nil
	}
	return n
}

func readValue(tokens *[]string) *jsonNode {
	next := func() string {
		if len(*tokens) == 0 {
			return ""
		}
		t := (*tokens)[0]
		*tokens = (*tokens)[1:]
		return t
	}
	t := next()
	if t != "{" && t != "[" {
		if t == "" || strings.ContainsAny(t[:1], "}],:") {
			return nil
		}
		return &jsonNode{raw: t}
	}
	n, closing := &jsonNode{open: t[0]}, map[string]string{"{": "}", "[": "]"}[t]
	if len(*tokens) > 0 && (*tokens)[0] == closing {
		next()
		return n
	}
	for {
		name := ""
		if n.open == '{' {
			name = next()
			next()
		}
		v := readValue(tokens)
		if v == nil {
			return nil
		}
		n.names, n.below = append(n.names, name), append(n.below, v)
		if t := next(); t == closing {
			return n
		} else if t != "," {
			return nil
		}
	}
}

func (n *jsonNode) String() string {
	if n.open == 0 {
		return n.raw
	}
	var b strings.Builder
	b.WriteByte(n.open)
	for i, v := range n.below {
		if i > 0 {
			b.WriteByte(',')
		}
		if n.open == '{' {
			b.WriteString(n.names[i] + ":")
		}
		b.WriteString(v.String())
	}
	b.WriteByte(n.open + 2)
	return b.String()
}

// all are a value and those below it.
func (n *jsonNode) all() []*jsonNode {
	out := []*jsonNode{n}
	for _, v := range n.below {
		out = append(out, v.all()...)
	}
	return out
}

// changeJSON makes another line of one, with one thing changed in it.
func changeJSON(r *rand.Rand, line string) (changed, what string) {
	root := readJSON(line)
	if root == nil {
		return line + " ", "a space behind"
	}
	nodes := root.all()
	n := nodes[r.IntN(len(nodes))]
	switch {
	case n.open != 0 && (r.IntN(4) > 0 || n == root):
		what = n.changeMembers(r)
	case strings.HasPrefix(n.raw, `"`):
		var texts []string
		for _, x := range nodes {
			if strings.HasPrefix(x.raw, `"`) {
				texts = append(texts, x.raw)
			}
		}
		was := n.raw
		n.raw = changeText(r, n.raw, texts)
		what = fmt.Sprintf("%.40s for %.40s", n.raw, was)
	default:
		was := n.String()
		*n = jsonNode{raw: otherNumber(r, was)}
		what = fmt.Sprintf("%.40s for %.40s", n.raw, was)
	}
	return root.String(), what
}

func otherNumber(r *rand.Rand, was string) string {
	all := []string{"0", "1", "-1", "-0", "2", "4294967296", "9007199254740993", "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616",
		"1.0", "1e0", "0.5", "01", "1" + was, was + "0", was + ".0", "0" + was, `"` + was + `"`, "null", "true", "false", `""`, "[]", "{}", "[" + was + "]", "NaN", strings.Repeat("9", 400),
		strings.Repeat("[", 90) + strings.Repeat("]", 90), "-9223372036854775809"}
	return all[r.IntN(len(all))]
}

// changeText makes another text of one, in quotes; texts are those in the line.
func changeText(r *rand.Rand, was string, texts []string) string {
	inner := was[1 : len(was)-1]
	at := r.IntN(len(inner) + 1)
	put := func(s string) string { return `"` + inner[:at] + s + inner[at:] + `"` }
	flip := func(f func(string) string) string { return `"` + f(inner) + `"` }
	switch r.IntN(24) {
	case 0:
		return `""`
	case 1, 2, 3:
		return texts[r.IntN(len(texts))]
	case 4:
		return flip(strings.ToUpper)
	case 5:
		return flip(strings.ToLower)
	case 6:
		return put(" ")
	case 7:
		return put(`\n`)
	case 8:
		return put("\u2028")
	case 9:
		return put(`\u2028`)
	case 10:
		return put("é")
	case 11:
		return put(`\u00e9`)
	case 12:
		return put(`\ud800`)
	case 13:
		if at < len(inner) && inner[at] >= ' ' && inner[at] != '\\' && (at == 0 || inner[at-1] != '\\') {
			return `"` + inner[:at] + fmt.Sprintf(`\u%04x`, inner[at]) + inner[at+1:] + `"`
		}
		return put("x")
	case 14:
		return put(string([]string{"0", "a", "=", "+", "/", "\x7f", "\u00a0", "\u0130", "\ufffd", "\U0001f600", "\u200b"}[r.IntN(11)]))
	case 15:
		return put([]string{`\/`, `\t`, `\u0000`, `\u001f`, `\"`, `\\`, `\b`, `\u000b`}[r.IntN(8)])
	case 16:
		return otherNumber(r, "7")
	case 17, 18:
		return `"` + otherTime(r) + `"`
	case 19:
		return `"` + strings.Repeat("0", []int{31, 32, 33, 63, 64, 65}[r.IntN(6)]) + `"`
	case 20:
		if at < len(inner) && inner[at] != '\\' {
			return `"` + inner[:at] + inner[at+1:] + `"`
		}
		return put("")
	case 21:
		if at < len(inner) && inner[at] >= '0' && inner[at] < '9' {
			return `"` + inner[:at] + string(inner[at]+1) + inner[at+1:] + `"`
		}
		return put("1")
	case 22:
		return put(strings.Repeat("x", 300))
	default:
		return strings.Replace(was, `Z"`, []string{`.5Z"`, `.50Z"`, `+00:00"`, `-00:00"`, `+01:00"`, `z"`, `.123456789Z"`, `.1234567891Z"`, `,5Z"`, `+23:59"`, `+24:00"`}[r.IntN(11)], 1)
	}
}

func otherTime(r *rand.Rand) string {
	all := []string{"0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "1969-12-31T23:59:59Z", "1969-12-31T23:59:59.5Z", "1970-01-01T00:00:00Z", "2026-10-05T24:00:00Z",
		"2026-02-29T00:00:00Z", "2024-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2000-02-29T12:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-01:00", "2026-10-05T08:00:60Z", "2026-1-05T08:00:00Z",
		"2026-10-05 08:00:00Z", "2026-10-05T08:00:00", "10000-01-01T00:00:00Z", "2262-04-11T23:47:16.854775808Z", "1677-09-21T00:12:43.145224192Z", "2026-10-05T08:0:00Z", "2026-10-05T8:00:00Z",
		"2026-10-0५T08:00:00Z", "2100-01-01T00:00:00Z"}
	return all[r.IntN(len(all))]
}

// changeMembers changes which members or elements there are.
func (n *jsonNode) changeMembers(r *rand.Rand) (what string) {
	put := func(at int, name string, v *jsonNode) {
		n.names, n.below = slices.Insert(n.names, at, name), slices.Insert(n.below, at, v)
	}
	if len(n.below) == 0 || r.IntN(5) == 0 {
		name := []string{`"x"`, `"archive"`, `"request"`, `"requests"`, `"open"`, `"single"`, `"roster"`, `"Request"`, `"spent"`, `"until"`, `"custody"`, `"left"`, `"urgent"`, `"hold"`, `"weeks"`, `""`}[r.IntN(16)]
		put(r.IntN(len(n.below)+1), name, &jsonNode{raw: []string{"1", "null", `"x"`, "0", "true", "false", "[]"}[r.IntN(7)]})
		return name + " more"
	}
	at := r.IntN(len(n.below))
	what = fmt.Sprintf("%s %d of %d", n.names[at], at, len(n.below))
	switch r.IntN(6) {
	case 0, 1:
		n.names, n.below = slices.Delete(n.names, at, at+1), slices.Delete(n.below, at, at+1)
		return "without " + what
	case 2:
		put(r.IntN(len(n.below)+1), n.names[at], n.below[at])
		return what + " twice"
	case 3:
		to := r.IntN(len(n.below))
		n.below[at], n.below[to] = n.below[to], n.below[at]
		if r.IntN(2) == 0 {
			n.names[at], n.names[to] = n.names[to], n.names[at]
		}
		return fmt.Sprintf("%s exchanged with %d", what, to)
	case 4:
		if len(n.names[at]) > 2 {
			n.names[at] = n.names[at][:1] + strings.ToUpper(n.names[at][1:2]) + n.names[at][2:]
			return what + " in capitals"
		}
		n.names, n.below = nil, nil
		return "emptied"
	default:
		*n = jsonNode{open: n.open}
		return "emptied"
	}
}
