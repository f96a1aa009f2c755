package kafka

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// member runs RunGroup and shows what it holds.
type member struct {
	cancel context.CancelFunc
	done   chan error

	mu    sync.Mutex
	held  []int
	calls int
	told  []error // by state
}

func join(t testing.TB, c *Client, group string) *member {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	m := &member{cancel: cancel, done: make(chan error, 1)}
	go func() { m.done <- c.RunGroup(ctx, group, m.state, m.onAssign) }()
	return m
}

func (m *member) onAssign(ctx context.Context, partitions []int) error {
	m.set(partitions, 1)
	<-ctx.Done()
	m.set(nil, 0)
	return ctx.Err()
}

func (m *member) state(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = append(m.told, err)
}

func (m *member) set(held []int, calls int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = held
	m.calls += calls
}

func (m *member) now() []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.held)
}

// await waits until the members together hold every partition exactly once,
// each holding its share.
func await(t testing.TB, limit time.Duration, partitions int, members ...*member) time.Duration {
	t.Helper()
	start := time.Now()
	for time.Since(start) < limit {
		var all []int
		fair := true
		for _, m := range members {
			held := m.now()
			all = append(all, held...)
			fair = fair && len(held) >= min(1, partitions/len(members)) && len(held) <= (partitions+len(members)-1)/len(members)
		}
		slices.Sort(all)
		if fair && len(all) == partitions && len(slices.Compact(all)) == partitions {
			return time.Since(start)
		}
		time.Sleep(20 * time.Millisecond)
	}
	for i, m := range members {
		t.Logf("member %d holds %v", i, m.now())
	}
	t.Fatalf("partitions are not shared after %v", limit)
	return 0
}

// leave ends a member and wants it to be quick.
func leave(t testing.TB, m *member) {
	t.Helper()
	start := time.Now()
	m.cancel()
	select {
	case err := <-m.done:
		wantError(t, err, context.Canceled)
	case <-time.After(patience):
		t.Fatal("RunGroup does not return")
	}
	if d := time.Since(start); d > leaveGrace+8*time.Second {
		t.Fatalf("%v to leave", d)
	}
}

func TestGroupShares(t *testing.T) {
	cluster := fake(t)
	a := join(t, openFake(t, cluster), "g")
	await(t, patience, 3, a)
	b := join(t, openFake(t, cluster), "g")
	await(t, patience, 3, a, b)
	leave(t, a)
	await(t, patience, 3, b)
	leave(t, b)
}

func TestGroupOnAssignError(t *testing.T) {
	c := openFake(t, fake(t))
	broken := errors.New("cannot go on")
	err := c.RunGroup(within(t, patience), "g", nil, func(context.Context, []int) error { return broken })
	wantError(t, err, broken)
}

// TestGroupEarlyReturn: nil from onAssign keeps the membership.
func TestGroupEarlyReturn(t *testing.T) {
	c := openFake(t, fake(t))
	ctx, cancel := context.WithCancel(within(t, patience))
	var calls atomic.Int32
	err := c.RunGroup(ctx, "g", nil, func(context.Context, []int) error {
		if calls.Add(1) == 1 {
			time.AfterFunc(2*heartbeatInterval, cancel)
		}
		return nil
	})
	wantError(t, err, context.Canceled)
	if calls.Load() != 1 {
		t.Fatalf("%d assignments", calls.Load())
	}
}

func TestGroupNoTopicIsNotCreated(t *testing.T) {
	cluster := fake(t, kfake.AllowAutoTopicCreation())
	c := open(t, Config{Brokers: cluster.ListenAddrs(), Topic: "missing"})
	err := c.RunGroup(within(t, patience), "g", nil, func(context.Context, []int) error { return nil })
	wantError(t, err, ErrNoTopic)
	_, err = c.Describe(t.Context())
	wantError(t, err, ErrNoTopic)
}

func TestGroupDenied(t *testing.T) {
	cluster := fake(t)
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, TopLevel: true, Err: kerr.GroupAuthorizationFailed, Count: -1})
	err := openFake(t, cluster).RunGroup(within(t, patience), "g", nil, func(context.Context, []int) error { return nil })
	wantError(t, err, ErrDenied)
}

// TestGroupSurvivesCoordinatorErrors keeps trying through what passes, and tells of it.
func TestGroupSurvivesCoordinatorErrors(t *testing.T) {
	cluster := fake(t)
	for _, fault := range []*kerr.Error{kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress, kerr.UnknownServerError} {
		cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, TopLevel: true, Err: fault})
	}
	m := join(t, openFake(t, cluster), "g")
	await(t, patience, 3, m)
	leave(t, m)
	if n := len(m.told); n < 4 || m.told[0] == nil || m.told[n-1] != nil {
		t.Errorf("told of %v, want three failures and an assignment", m.told)
	}
}

// TestGroupLeavesDuringJoin: a coordinator holds a join back as long as
// other members take.
func TestGroupLeavesDuringJoin(t *testing.T) {
	cluster := fake(t)
	joining := make(chan struct{}, 1)
	cluster.ControlKey(int16(kmsg.JoinGroup), func(kmsg.Request) (kmsg.Response, error, bool) {
		joining <- struct{}{}
		return nil, nil, true
	})
	m := join(t, openFake(t, cluster), "g")
	<-joining
	leave(t, m)
}

func TestHint(t *testing.T) {
	cluster := fake(t)
	c := openFake(t, cluster)
	must(t, c.Hint(t.Context(), "idle", map[int]int64{0: 5}))
	m := join(t, c, "busy")
	await(t, patience, 3, m)
	must(t, c.Hint(t.Context(), "busy", map[int]int64{0: 7, 1: 8}))
	if err := openFake(t, cluster).Hint(t.Context(), "busy", map[int]int64{0: 9}); err == nil {
		t.Error("a stranger moved the offsets of a live group")
	}
	leave(t, m)
	must(t, c.Hint(t.Context(), "busy", map[int]int64{0: 10}))
}
