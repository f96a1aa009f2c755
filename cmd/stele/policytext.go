package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// policyText is what people want to see of the policy in a draft: names, not keys.
type policyText struct {
	Policy struct {
		Holders, Compactors, KeyServices, Readers []struct{ Name string }

		Classes []struct {
			Name           string
			Keep, TTL, Min int
		}
		Lock struct {
			Mode string
			Keep int
		}
		Erasure *struct {
			Session []string
			TTL     bool
		}
		Partitions int
		Period     string
	}
}

// printDraft says in lines what a draft says in JSON.
func printDraft(w io.Writer, draft json.RawMessage) {
	var t policyText
	if err := json.Unmarshal(draft, &t); err != nil { // a newer one
		fmt.Fprintf(w, "%s\n", draft)
		return
	}
	p := &t.Policy
	for _, role := range []struct {
		title string
		who   []struct{ Name string }
	}{{"holders", p.Holders}, {"compactors", p.Compactors}, {"key serv.", p.KeyServices}, {"readers", p.Readers}} {
		names := []string{}
		for _, n := range role.who {
			names = append(names, n.Name)
		}
		if len(names) == 0 {
			names = []string{"none"}
		}
		fmt.Fprintf(w, "%-10s %s\n", role.title, strings.Join(names, ", "))
	}
	for i, c := range p.Classes {
		line := fmt.Sprintf("%s: objects locked for %s", c.Name, count(c.Keep, "day"))
		if c.Min > 0 {
			line += ", no request erases it before " + count(c.Min, "day")
		}
		if c.TTL > 0 {
			line += ", its keys die after " + count(c.TTL, "day")
		}
		fmt.Fprintf(w, "%-10s %s\n", []string{"classes", ""}[min(i, 1)], line)
	}
	fmt.Fprintf(w, "lock       %s, %s\n", p.Lock.Mode, count(p.Lock.Keep, "day"))
	fmt.Fprintf(w, "erased     without a request: %s\n", t.unasked())
	fmt.Fprintf(w, "logs       %s, a new log each %s\n", count(p.Partitions, "partition"), p.Period)
	fmt.Fprintln(w, "keys       --draft writes them with all else, as JSON to change and propose")
}

// unasked is what a policy erases without a request.
func (t *policyText) unasked() string {
	e := t.Policy.Erasure
	if e == nil {
		return "nothing"
	}
	var out []string
	if len(e.Session) > 0 {
		out = append(out, strings.Join(e.Session, ", ")+" when the session ends")
	}
	if e.TTL {
		out = append(out, "keys that die after some days, then")
	}
	if len(out) == 0 {
		return "nothing"
	}
	return strings.Join(out, "; ")
}
