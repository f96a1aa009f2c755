package cosign

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Policy is the witnesses of a log and how many of them must have cosigned a head.
type Policy struct {
	Witnesses []Witness
	Quorum    string // "none", or the name of the witness or group that is wanted

	groups map[string]group
}

// Witness cosigns heads that continue those that it has seen.
type Witness struct {
	Name string // in the policy
	Key  *Verifier
	URL  string // where it takes checkpoints; empty if nobody is to ask it
}

type group struct {
	need    int
	members []string
}

const none = "none"

// Parse reads witness, group and quorum lines of a c2sp.org/tlog-policy. No lines are the policy that asks for nobody.
func Parse(lines []string) (*Policy, error) {
	p := &Policy{groups: map[string]group{}}
	taken := map[string]bool{} // members of a group
	for _, line := range lines {
		f := strings.Fields(line)
		var err error
		switch {
		case len(f) > 0 && f[0] == "witness":
			err = p.witness(f[1:])
		case len(f) > 0 && f[0] == "group":
			err = p.group(f[1:], taken)
		case len(f) == 2 && f[0] == "quorum" && p.Quorum == "":
			if p.Quorum = f[1]; f[1] != none && !p.defines(f[1]) {
				err = fmt.Errorf("it names %q, which is defined nowhere above", f[1])
			}
		default:
			err = errors.New("want a witness, group or quorum line, and one quorum line at most")
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
	}
	if p.Quorum == "" {
		if len(p.Witnesses) > 0 {
			return nil, errors.New("witnesses without a quorum line: say how many are wanted, or quorum none")
		}
		p.Quorum = none
	}
	return p, nil
}

func (p *Policy) defines(name string) bool {
	_, ok := p.groups[name]
	return ok || slices.ContainsFunc(p.Witnesses, func(w Witness) bool { return w.Name == name })
}

func (p *Policy) witness(f []string) error {
	if len(f) != 2 && len(f) != 3 {
		return errors.New("want: witness <name> <key> [<URL>]")
	}
	if f[0] == none || p.defines(f[0]) {
		return fmt.Errorf("the name %q is taken", f[0])
	}
	v, err := NewVerifier(f[1])
	if err != nil {
		return err
	}
	if slices.ContainsFunc(p.Witnesses, func(w Witness) bool { return w.Key.key.Equal(v.key) }) {
		return errors.New("another witness has the same key, so that one would count for two")
	}
	w := Witness{Name: f[0], Key: v}
	if len(f) == 3 {
		u, err := url.Parse(f[2])
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return errors.New("the URL must be http:// or https://, without a password or query")
		}
		w.URL = strings.TrimSuffix(f[2], "/")
	}
	p.Witnesses = append(p.Witnesses, w)
	return nil
}

func (p *Policy) group(f []string, taken map[string]bool) error {
	if len(f) < 3 {
		return errors.New("want: group <name> <number, any or all> <names>")
	}
	if f[0] == none || p.defines(f[0]) {
		return fmt.Errorf("the name %q is taken", f[0])
	}
	g := group{members: f[2:]}
	switch f[1] {
	case "any":
		g.need = 1
	case "all":
		g.need = len(g.members)
	default:
		n, err := strconv.Atoi(f[1])
		if err != nil || n < 1 || n > len(g.members) {
			return fmt.Errorf("%q of %d is no number of members", f[1], len(g.members))
		}
		g.need = n
	}
	for _, m := range g.members {
		if !p.defines(m) || taken[m] {
			return fmt.Errorf("the member %q is defined nowhere above, or in a group already", m)
		}
		taken[m] = true
	}
	p.groups[f[0]] = g
	return nil
}

// Wants reports whether the policy asks for anybody.
func (p *Policy) Wants() bool { return p.Quorum != none }

// Met reports whether the witnesses for which has is true are enough.
func (p *Policy) Met(has func(witness string) bool) bool {
	return p.Quorum == none || p.met(p.Quorum, has)
}

func (p *Policy) met(name string, has func(string) bool) bool {
	g, ok := p.groups[name]
	if !ok {
		return has(name)
	}
	n := 0
	for _, m := range g.members {
		if p.met(m, has) {
			n++
		}
	}
	return n >= g.need
}

// Reached is the greatest size for which the policy is met, when each witness has cosigned up to size(witness): who has cosigned a
// head vouches for every smaller one of the same log.
func (p *Policy) Reached(size func(witness string) uint64) (reached uint64) {
	for _, w := range p.Witnesses {
		if n := size(w.Name); n > reached && p.Met(func(other string) bool { return size(other) >= n }) {
			reached = n
		}
	}
	return reached
}

// Time is the latest time of which the policy is met, when each witness has cosigned something at time(witness): so late it
// was at least. It is zero if the policy asks for nobody.
func (p *Policy) Time(at func(witness string) time.Time) (latest time.Time) {
	for _, w := range p.Witnesses {
		if t := at(w.Name); p.Wants() && t.After(latest) && p.Met(func(other string) bool { return !at(other).Before(t) }) {
			latest = t
		}
	}
	return latest
}
