package probe_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/dirstore"
	"github.com/stelelog/stele/backup/probe"
	"github.com/stelelog/stele/backup/s3store"
	"github.com/stelelog/stele/backup/storetest"
	"github.com/stelelog/stele/backup/worm"
	"github.com/stelelog/stele/internal/testbed"
)

func TestMain(m *testing.M) { os.Exit(testbed.Main(m)) }

// bucket is a store that enforces locks as S3 does, but for what its flaws say.
type bucket struct {
	*storetest.Memory
	flaws flaws

	mu    sync.Mutex
	locks map[string]worm.Lock // those that were changed, by version
}

type flaws struct {
	createOverwrites, deletesLocked, shortens, weakens, overwrites, hidesLock, wrongMode, noExtend, noVersions, noDelete bool

	skew  time.Duration
	fault string // attack that cannot be tried
	rule  worm.LockMode
}

var errWire = errors.New("connection reset")

func (b *bucket) Create(ctx context.Context, key string, data []byte, lock worm.Lock) (worm.Version, error) {
	v, err := b.Memory.Create(ctx, key, data, lock)
	if errors.Is(err, fs.ErrExist) && b.flaws.createOverwrites {
		v, err = b.Overwrite(key, data), nil
	}
	v.Modified = v.Modified.Add(b.flaws.skew)
	return v, err
}

func (b *bucket) ReadLock(ctx context.Context, key, id string) (worm.Lock, error) {
	lock, err := b.Memory.ReadLock(ctx, key, id)
	b.mu.Lock()
	defer b.mu.Unlock()
	if changed, ok := b.locks[id]; ok {
		lock = changed
	}
	switch {
	case b.flaws.hidesLock:
		lock = worm.Lock{}
	case b.flaws.wrongMode && lock.Mode != "":
		lock.Mode = worm.LockGovernance
	}
	return lock, err
}

func (b *bucket) Extend(ctx context.Context, key, id string, lock worm.Lock) error {
	if b.flaws.noExtend {
		return fs.ErrPermission
	}
	return b.Memory.Extend(ctx, key, id, lock)
}

func (b *bucket) Describe(context.Context) (probe.Bucket, error) {
	return probe.Bucket{Versions: !b.flaws.noVersions, Locks: true, Rule: b.flaws.rule, RuleKeep: 48 * time.Hour}, nil
}

func (b *bucket) TryDelete(ctx context.Context, key, id string, bypass bool) error {
	lock, _ := b.ReadLock(ctx, key, id)
	held := lock.Mode == worm.LockCompliance || lock.Mode == worm.LockGovernance && !bypass
	switch {
	case b.flaws.fault == "delete":
		return errWire
	case b.flaws.noDelete, held && !b.flaws.deletesLocked:
		return fmt.Errorf("%w: WORM", fs.ErrPermission)
	}
	b.Remove(key, id)
	return nil
}

func (b *bucket) TryLock(ctx context.Context, key, id string, lock worm.Lock, bypass bool) error {
	now, err := b.ReadLock(ctx, key, id)
	if err != nil {
		return err
	}
	if b.flaws.fault == "lock" {
		return errWire
	}
	if lock.Until.Before(now.Until) && !b.flaws.shortens || lock.Mode != now.Mode && !b.flaws.weakens {
		return fs.ErrPermission
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.locks[id] = lock
	return nil
}

func (b *bucket) TryMark(_ context.Context, key string) error {
	b.Mark(key)
	return nil
}

func (b *bucket) TryOverwrite(_ context.Context, key string, data []byte) error {
	if b.flaws.overwrites {
		b.Remove(key, "")
	}
	b.Overwrite(key, data)
	return nil
}

// plain is a store that tells nothing of itself.
type plain struct{ worm.Store }

func (p plain) ReadLock(ctx context.Context, key, id string) (worm.Lock, error) {
	return p.Store.(worm.LockReader).ReadLock(ctx, key, id)
}

func TestRun(t *testing.T) {
	const gov, com = worm.LockGovernance, worm.LockCompliance
	for name, c := range map[string]struct {
		flaws  flaws
		lock   worm.LockMode
		failed string // results that are not OK
		worm   string
	}{
		"governance":        {flaws{}, gov, "", "governance, enforced"},
		"compliance":        {flaws{}, com, "", "compliance, enforced"},
		"none":              {flaws{}, worm.LockNone, "", "none asked for"},
		"none, unversioned": {flaws{noVersions: true}, "", "", "none asked for"},
		"may not delete":    {flaws{noDelete: true}, gov, "", "governance, read back; these credentials may delete nothing"},
		"default rule":      {flaws{noDelete: true, rule: gov}, gov, "", "governance, read back; the default rule"},
		"lock ignored":      {flaws{deletesLocked: true}, gov, "delete locked WORM", "not enforced: governance is shown"},
		"compliance lifted": {flaws{deletesLocked: true}, com, "delete locked WORM", "not enforced"},
		"shortened":         {flaws{shortens: true}, gov, "shorten WORM", "not enforced"},
		"weakened":          {flaws{weakens: true}, com, "weaken WORM", "not enforced"},
		"overwritten":       {flaws{overwrites: true}, gov, "overwrite WORM", "not enforced"},
		"not create-only":   {flaws{createOverwrites: true}, gov, "create-only read back race WORM", "not enforced"},
		"no lock":           {flaws{hidesLock: true}, gov, "lock WORM", "no lock is in force"},
		"wrong mode":        {flaws{wrongMode: true}, com, "lock WORM", "not enforced"},
		"never longer":      {flaws{noExtend: true}, gov, "extend WORM", "not enforced"},
		"no versions":       {flaws{noVersions: true}, gov, "versioning WORM", "not enforced"},
		"clock ahead":       {flaws{skew: 2 * time.Minute}, gov, "clock", "governance, enforced"},
		"clock behind":      {flaws{skew: -2 * time.Minute}, gov, "clock", "governance, enforced"},
		"clock a bit off":   {flaws{skew: 50 * time.Second}, gov, "", "governance, enforced"},
	} {
		t.Run(name, func(t *testing.T) {
			store := &bucket{Memory: storetest.NewMemory(), flaws: c.flaws, locks: map[string]worm.Lock{}}
			results, err := probe.Run(t.Context(), store, probe.Options{Lock: c.lock})
			if err != nil {
				t.Fatal(err)
			}
			check(t, results, c.failed, c.worm)
		})
	}
}

func check(t *testing.T, results []probe.Result, failed, worm string) {
	t.Helper()
	var bad []string
	for _, r := range results {
		t.Logf("%-20s %-5t %s", r.Name, r.OK, r.Detail)
		if !r.OK {
			bad = append(bad, r.Name)
		}
	}
	last := results[len(results)-1]
	if got := strings.Join(bad, " "); got != failed || last.Name != probe.WORM || !strings.Contains(last.Detail, worm) {
		t.Errorf("failed: %q, want %q; %s: %s, want %q", got, failed, last.Name, last.Detail, worm)
	}
}

func TestNothingOfTheArchiveIsTouched(t *testing.T) {
	store := &bucket{Memory: storetest.NewMemory(), locks: map[string]worm.Lock{}}
	for range 2 {
		if _, err := probe.Run(t.Context(), store, probe.Options{Lock: worm.LockCompliance}); err != nil {
			t.Fatal(err)
		}
	}
	for v, err := range store.Versions(t.Context(), "", "") {
		if err != nil || !strings.HasPrefix(v.Key, probe.Prefix) {
			t.Errorf("%+v, %v", v, err)
		}
		if lock, err := store.ReadLock(t.Context(), v.Key, v.ID); err == nil && time.Until(lock.Until) > 24*time.Hour {
			t.Errorf("%s is locked until %s", v.Key, lock.Until)
		}
	}
}

// A store whose locks are shown and never tried does not pass for one that enforces them.
func TestStoreThatCannotBeAttacked(t *testing.T) {
	results, err := probe.Run(t.Context(), plain{storetest.NewMemory()}, probe.Options{Lock: worm.LockGovernance})
	if err != nil {
		t.Fatal(err)
	}
	check(t, results, "WORM", "not known")
}

func TestDirectory(t *testing.T) {
	for lock, failed := range map[worm.LockMode]string{
		worm.LockAdvisory: "", worm.LockNone: "", worm.LockGovernance: "lock WORM", worm.LockCompliance: "lock WORM",
	} {
		store, err := dirstore.Open(t.TempDir(), dirstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		results, err := probe.Run(t.Context(), store, probe.Options{Lock: lock})
		if err != nil {
			t.Fatal(err)
		}
		check(t, results, failed, map[bool]string{true: "none asked for", false: "advisory (plain directory)"}[lock == worm.LockNone])
	}
}

// An attack that the network swallowed proves nothing.
func TestFaultsAreNoVerdict(t *testing.T) {
	for _, fault := range []string{"delete", "lock"} {
		store := &bucket{Memory: storetest.NewMemory(), flaws: flaws{fault: fault}, locks: map[string]worm.Lock{}}
		if results, err := probe.Run(t.Context(), store, probe.Options{Lock: worm.LockGovernance}); !errors.Is(err, errWire) {
			t.Errorf("%s: %v after %v", fault, err, results)
		}
	}
	faulty := &storetest.Faulty{Store: storetest.NewMemory(), Script: func(c storetest.Call) storetest.Fault {
		if c.Op == "Read" {
			return storetest.Lost
		}
		return storetest.None
	}}
	if _, err := probe.Run(t.Context(), faulty, probe.Options{}); !errors.Is(err, storetest.ErrFault) {
		t.Errorf("a read that fails gives %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := probe.Run(gone, storetest.NewMemory(), probe.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := probe.Run(t.Context(), storetest.NewMemory(), probe.Options{Lock: "iron"}); err == nil {
		t.Error("an unknown mode is taken")
	}
}

// liar is a real bucket whose locks are dropped on the way in and shown all the same.
type liar struct {
	*s3store.Store
	mu    sync.Mutex
	shown map[string]worm.Lock
}

func (l *liar) Create(ctx context.Context, key string, data []byte, lock worm.Lock) (worm.Version, error) {
	v, err := l.Store.Create(ctx, key, data, worm.Lock{})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown[v.ID] = lock
	return v, err
}

func (l *liar) Extend(_ context.Context, _, id string, lock worm.Lock) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown[id] = lock
	return nil
}

func (l *liar) ReadLock(_ context.Context, _, id string) (worm.Lock, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shown[id], nil
}

func TestServices(t *testing.T) {
	for name, start := range map[string]func(testing.TB, ...testbed.Option) *testbed.S3{"MinIO": testbed.MinIO, "versitygw": testbed.VersityGW} {
		t.Run(name, func(t *testing.T) {
			service := start(t)
			store, err := s3store.Open(t.Context(), s3store.Config{
				Endpoint: service.Addr, Region: service.Region, Bucket: service.Bucket(t), Prefix: "an/archive",
				Credentials: s3store.Credentials{AccessKey: service.AccessKey, SecretKey: service.SecretKey},
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, lock := range []worm.LockMode{worm.LockGovernance, worm.LockCompliance} {
				results, err := probe.Run(t.Context(), store, probe.Options{Lock: lock})
				if err != nil {
					t.Fatal(err)
				}
				check(t, results, "", string(lock)+", enforced")
				bypass := slices.ContainsFunc(results, func(r probe.Result) bool { return r.Name == "bypass" })
				if bypass != (lock == worm.LockGovernance) {
					t.Errorf("%s: bypass tried: %t", lock, bypass)
				}
			}
			results, err := probe.Run(t.Context(), &liar{Store: store, shown: map[string]worm.Lock{}}, probe.Options{Lock: worm.LockCompliance})
			if err != nil {
				t.Fatal(err)
			}
			check(t, results, "delete locked WORM", "not enforced: compliance is shown")
		})
	}
}
