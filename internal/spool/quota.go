package spool

import "sync"

// quota keeps the log files of a directory under a bound. Between two looks at the directory it counts
// what this process appends and trims; what other processes do shows at the next look.
type quota struct {
	max  int64 // 0: no bound, nothing is counted
	scan func() (int64, error)

	mu       sync.Mutex // guards all below
	used     int64      // bytes at the last look, plus reserved since, minus released
	reserved int64      // bytes ever reserved
	settled  int64      // bytes ever settled: their write has ended, a look sees them
	looked   int64      // reserved at the last look; -1 before the first
}

func newQuota(limit int64, scan func() (int64, error)) *quota {
	return &quota{max: limit, scan: scan, looked: -1}
}

// reserve takes n bytes, or reports that there is no room for them. Each granted reserve is followed by
// one settle.
func (q *quota) reserve(n int64) (ok bool, err error) {
	if q.max <= 0 {
		return true, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.looked < 0 || q.used+n > q.max || q.reserved-q.looked > q.max/16 {
		if err := q.look(); err != nil {
			return false, err
		}
	}
	if q.used+n > q.max {
		return false, nil
	}
	q.used += n
	q.reserved += n
	return true, nil
}

// look counts the directory afresh. Bytes whose write is under way may be seen or not: they count in full.
func (q *quota) look() error {
	size, err := q.scan()
	if err != nil {
		return err
	}
	q.used = size + q.reserved - q.settled
	q.looked = q.reserved
	return nil
}

// settle says that the write of n reserved bytes has ended, well or not.
func (q *quota) settle(n int64) {
	if q.max <= 0 {
		return
	}
	q.mu.Lock()
	q.settled += n
	q.mu.Unlock()
}

// release runs remove, which deletes a file of n bytes, and gives back its room. A look cannot come in
// between, so the bytes are not given back twice.
func (q *quota) release(n int64, remove func() error) error {
	if q.max <= 0 {
		return remove()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	err := remove()
	if err == nil {
		q.used = max(0, q.used-n)
	}
	return err
}
