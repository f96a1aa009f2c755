package logpipe

import (
	"sort"
	"sync"

	"github.com/stelelog/stele/internal/record"
)

// lossKey is what one declaration is about.
type lossKey struct {
	class  string
	reason record.Reason
}

type lossSum struct {
	count       uint64
	from, until int64
}

func (s *lossSum) add(o lossSum) {
	s.count += o.count
	s.from, s.until = min(s.from, o.from), max(s.until, o.until)
}

// losses are the records that a stream took, or was meant to take, and could not keep.
type losses struct {
	mu      sync.Mutex
	pending map[lossKey]lossSum // not declared yet
	total   map[record.Reason]uint64
}

// maxLossClasses bounds what is told apart; what is more is declared under the default class.
const maxLossClasses = 256

// add counts n records whose event times lie at when.
func (l *losses) add(class string, reason record.Reason, n uint64, when int64) {
	l.addAll(declared{lossKey{class, reason}, lossSum{n, when, when}})
}

// addAll counts what was counted before.
func (l *losses) addAll(d declared) {
	key := d.lossKey
	if key.class == "" {
		key.class = defaultClass
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending == nil {
		l.pending, l.total = map[lossKey]lossSum{}, map[record.Reason]uint64{}
	}
	sum, ok := l.pending[key]
	if !ok && len(l.pending) >= maxLossClasses {
		key.class = defaultClass
		sum, ok = l.pending[key]
	}
	if !ok {
		sum.from, sum.until = d.from, d.until
	}
	sum.add(d.lossSum)
	l.pending[key] = sum
	l.total[key.reason] += d.count
}

// declared is one loss to declare.
type declared struct {
	lossKey
	lossSum
}

// take returns what is to be declared now, in a fixed order.
func (l *losses) take() []declared {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []declared
	for key, sum := range l.pending {
		out = append(out, declared{key, sum})
	}
	clear(l.pending)
	sort.Slice(out, func(i, j int) bool {
		a, b := out[i].lossKey, out[j].lossKey
		return a.class < b.class || a.class == b.class && a.reason < b.reason
	})
	return out
}

// giveBack takes back a declaration that could not be sealed.
func (l *losses) giveBack(d declared) {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum, ok := l.pending[d.lossKey]
	if !ok {
		l.pending[d.lossKey] = d.lossSum
		return
	}
	sum.add(d.lossSum)
	l.pending[d.lossKey] = sum
}

// sum returns how many records were lost, in all and by reason.
func (l *losses) sum(by map[string]uint64) (all uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for reason, n := range l.total {
		all += n
		if by != nil {
			by[reason.String()] += n
		}
	}
	return all
}
