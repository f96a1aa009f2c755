package counts

import (
	"cmp"
	"math"
	"slices"
	"time"
)

type key struct {
	service, what string
	hour          int64 // s
}

func (e *Expected) key() key { return key{e.Service, e.What, e.Hour.Unix()} }

// Reconcile compares counts. Each hour that was counted outside has a row; so has, of services and kinds that were, each hour
// in which the archive holds something or a writer says that it does not; and if nothing was counted outside, all that the
// archive holds, as records. Rows come by service, kind and hour.
//
// A loss or sample that lies in one hour counts there. One over several hours is put where something is missing, earliest
// first, and what is left of a sample into the last. What was declared lost never makes a surplus: who declares more than
// is missing has not lost it.
func Reconcile(c *Inventory, expected []Expected, known []Acknowledged) []Row {
	t := table{rows: map[key]*Row{}}
	kinds := map[[2]string]bool{}
	for i := range expected {
		e := &expected[i]
		kinds[[2]string{e.Service, e.What}] = true
		count := e.Count
		t.row(e.key()).Expected = &count
	}
	wanted := func(service, what string) bool {
		return kinds[[2]string{service, what}] || len(expected) == 0 && what == Records
	}
	for _, what := range []string{Records, Calls} {
		for _, h := range c.Held {
			if n := h.number(what); n > 0 && wanted(h.Service, what) {
				r := t.row(key{h.Service, what, h.Hour.Unix()})
				r.Counted = sum(r.Counted, n)
			}
		}
		t.spread(c.Sampled, what, wanted, false)
		t.spread(c.Lost, what, wanted, true)
	}
	for _, r := range t.rows {
		r.settle(c.Expired, known)
		t.out = append(t.out, *r)
	}
	slices.SortFunc(t.out, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.What, b.What), a.Hour.Compare(b.Hour))
	})
	return t.out
}

// sum adds up to the largest number: a writer may declare what it likes.
func sum(a, b uint64) uint64 {
	if b > math.MaxUint64-a {
		return math.MaxUint64
	}
	return a + b
}

func (h *Held) number(what string) uint64 {
	if what == Calls {
		return h.Calls
	}
	return h.Records
}

// number is how many of a kind a span can stand for. So many records are at most so many calls.
func (s *Span) number(what string, lost bool) uint64 {
	if what == Calls && !lost {
		return s.Calls
	}
	return s.Records
}

type table struct {
	rows map[key]*Row
	out  []Row
}

func (t *table) row(k key) *Row {
	r := t.rows[k]
	if r == nil {
		r = &Row{Service: k.service, What: k.what, Hour: time.Unix(k.hour, 0).UTC()}
		t.rows[k] = r
	}
	return r
}

// spread puts spans into rows: those of one hour first, as there is no choice, then the shorter ones.
func (t *table) spread(spans []Span, what string, wanted func(service, what string) bool, lost bool) {
	order := slices.Clone(spans)
	slices.SortStableFunc(order, func(a, b Span) int { return cmp.Compare(a.hours(), b.hours()) })
	for _, s := range order {
		n := s.number(what, lost)
		if n == 0 || !wanted(s.Service, what) {
			continue
		}
		last := Hour(s.Until).Unix()
		first := min(Hour(s.From).Unix(), last)
		if first < last {
			for _, r := range t.between(s.Service, what, first, last) {
				some := min(n, r.lacks())
				r.add(some, lost)
				n -= some
			}
		}
		if n > 0 {
			t.row(key{s.Service, what, last}).add(n, lost)
		}
	}
}

func (s *Span) hours() int64 { return Hour(s.Until).Unix() - Hour(s.From).Unix() }

// between are the rows of a service from one hour to another, earliest first.
func (t *table) between(service, what string, first, last int64) (out []*Row) {
	for k, r := range t.rows {
		if k.service == service && k.what == what && k.hour >= first && k.hour <= last {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *Row) int { return a.Hour.Compare(b.Hour) })
	return out
}

func (r *Row) add(n uint64, lost bool) {
	if lost {
		r.Lost = sum(r.Lost, n)
	} else {
		r.Sampled = sum(r.Sampled, n)
	}
}

// lacks is how many are missing and not declared.
func (r *Row) lacks() uint64 {
	if r.Expected == nil {
		return 0
	}
	have := sum(sum(r.Counted, r.Sampled), r.Lost)
	return max(*r.Expected, have) - have
}

// settle computes the difference and what explains it.
func (r *Row) settle(expired []Span, known []Acknowledged) {
	if r.Expected == nil {
		return
	}
	if missing := r.lacks(); missing > 0 {
		r.Difference = -int64(min(missing, 1<<62))
	} else if have := sum(r.Counted, r.Sampled); have > *r.Expected {
		r.Difference = int64(min(have-*r.Expected, 1<<62))
	}
	if r.Difference >= 0 {
		return
	}
	end := r.Hour.Add(time.Hour)
	for _, s := range expired {
		r.Expired = r.Expired || s.From.Before(end) && !s.Until.Before(r.Hour)
	}
	for _, a := range known {
		if a.Service == r.Service && a.What == r.What && a.Hour.Equal(r.Hour) && a.Missing >= uint64(-r.Difference) {
			r.Acknowledged = cmp.Or(a.Reason, "no reason given")
		}
	}
}
