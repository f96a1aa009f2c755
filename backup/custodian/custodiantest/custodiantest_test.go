package custodiantest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stelelog/stele/backup/custodian"
)

func TestMemory(t *testing.T) {
	for _, class := range []custodian.Erasure{
		{Class: custodian.Immediate}, {Class: custodian.Delayed, Delay: 30 * 24 * time.Hour},
		{Class: custodian.BestEffort}, {Class: custodian.Never},
	} {
		t.Run(string(class.Class), func(t *testing.T) { Run(t, deviceOf(class, nil)) })
	}
}

func TestMemoryDown(t *testing.T) {
	m := NewMemory(custodian.Erasure{Class: custodian.Immediate})
	c := m.Open(custodian.Identity{Archive: [16]byte{1}, Name: "a"})
	m.Down(true)
	if _, err := c.Create(t.Context(), 1); !errors.Is(err, custodian.ErrUnavailable) {
		t.Errorf("create: %v", err)
	}
	m.Down(false)
	if s, err := c.Status(t.Context(), 1); err != nil || s.State != custodian.Unknown {
		t.Errorf("%+v, %v", s, err)
	}
}

func deviceOf(class custodian.Erasure, broken func(custodian.Custodian) custodian.Custodian) Device {
	m := NewMemory(class)
	return Device{Class: class.Class, Delay: class.Delay, Open: func(_ testing.TB, id custodian.Identity) custodian.Custodian {
		c := m.Open(id)
		if broken != nil {
			c = broken(c)
		}
		return c
	}}
}

// altered is a custodian with some methods replaced.
type altered struct {
	custodian.Custodian
	create, destroy, status func(context.Context, uint64) (custodian.Status, error)
	wrap                    func(context.Context, uint64, custodian.Share) ([]byte, error)
	unwrap                  func(context.Context, uint64, []byte) (custodian.Share, error)
}

func (a altered) Create(ctx context.Context, g uint64) (custodian.Status, error) {
	if a.create != nil {
		return a.create(ctx, g)
	}
	return a.Custodian.Create(ctx, g)
}

func (a altered) Destroy(ctx context.Context, g uint64) (custodian.Status, error) {
	if a.destroy != nil {
		return a.destroy(ctx, g)
	}
	return a.Custodian.Destroy(ctx, g)
}

func (a altered) Status(ctx context.Context, g uint64) (custodian.Status, error) {
	if a.status != nil {
		return a.status(ctx, g)
	}
	return a.Custodian.Status(ctx, g)
}

func (a altered) Wrap(ctx context.Context, g uint64, s custodian.Share) ([]byte, error) {
	if a.wrap != nil {
		return a.wrap(ctx, g, s)
	}
	return a.Custodian.Wrap(ctx, g, s)
}

func (a altered) Unwrap(ctx context.Context, g uint64, blob []byte) (custodian.Share, error) {
	if a.unwrap != nil {
		return a.unwrap(ctx, g, blob)
	}
	return a.Custodian.Unwrap(ctx, g, blob)
}

// TestFindsFaults shows that each check fails for a custodian that breaks its promise, and names all checks.
func TestFindsFaults(t *testing.T) {
	type wrong = func(custodian.Custodian) custodian.Custodian
	faults := []struct {
		name  string
		check string
		wrong wrong
	}{
		{"wraps with nothing", "RoundTrip", func(c custodian.Custodian) custodian.Custodian {
			return altered{Custodian: c,
				wrap: func(_ context.Context, _ uint64, s custodian.Share) ([]byte, error) { return s[:], nil },
				unwrap: func(_ context.Context, _ uint64, blob []byte) (s custodian.Share, _ error) {
					copy(s[:], blob)
					return s, nil
				}}
		}},
		{"opens any generation's blob", "Bound", func(c custodian.Custodian) custodian.Custodian {
			return altered{Custodian: c, unwrap: func(ctx context.Context, g uint64, blob []byte) (custodian.Share, error) {
				s, err := c.Unwrap(ctx, g, blob)
				if errors.Is(err, custodian.ErrBlob) {
					return c.Unwrap(ctx, 1, blob)
				}
				return s, err
			}}
		}},
		{"ignores the last byte", "Changed", func(c custodian.Custodian) custodian.Custodian {
			return altered{Custodian: c,
				wrap: func(ctx context.Context, g uint64, s custodian.Share) ([]byte, error) {
					blob, err := c.Wrap(ctx, g, s)
					return append(blob, 0), err
				},
				unwrap: func(ctx context.Context, g uint64, blob []byte) (custodian.Share, error) {
					return c.Unwrap(ctx, g, blob[:max(0, len(blob)-1)])
				}}
		}},
		{"a share with an error", "Changed", func(c custodian.Custodian) custodian.Custodian {
			return altered{Custodian: c, unwrap: func(ctx context.Context, g uint64, blob []byte) (custodian.Share, error) {
				s, err := c.Unwrap(ctx, g, blob)
				if err != nil {
					s[0] = 1
				}
				return s, err
			}}
		}},
		{"an error that is not typed", "Changed", func(c custodian.Custodian) custodian.Custodian {
			return altered{Custodian: c, unwrap: func(ctx context.Context, g uint64, blob []byte) (custodian.Share, error) {
				s, err := c.Unwrap(ctx, g, blob)
				if err != nil {
					err = custodian.ErrBlob
				}
				return s, err
			}}
		}},
		{"makes keys by the way", "NeverMade", func(c custodian.Custodian) custodian.Custodian {
			return altered{Custodian: c, wrap: func(ctx context.Context, g uint64, s custodian.Share) ([]byte, error) {
				_, _ = c.Create(ctx, g)
				return c.Wrap(ctx, g, s)
			}}
		}},
		{"an empty device destroyed it", "NeverMade", func(c custodian.Custodian) custodian.Custodian {
			return altered{Custodian: c, destroy: func(ctx context.Context, g uint64) (custodian.Status, error) {
				_, _ = c.Create(ctx, g)
				return c.Destroy(ctx, g)
			}}
		}},
		{"another key at every Create", "Create", newLifeAtCreate},
		{"destroys the second time only", "Destroy", func(c custodian.Custodian) custodian.Custodian {
			calls := 0
			return altered{Custodian: c, destroy: func(ctx context.Context, g uint64) (custodian.Status, error) {
				if calls++; calls > 1 {
					return c.Destroy(ctx, g)
				}
				at := time.Now()
				return custodian.Status{State: custodian.Destroyed, Class: custodian.Immediate, Destroyed: at, Irrecoverable: at, Attestation: []byte("lie")}, nil
			}}
		}},
		{"destroys once only", "Destroy", func(c custodian.Custodian) custodian.Custodian {
			return altered{Custodian: c, destroy: func(ctx context.Context, g uint64) (custodian.Status, error) {
				if s, err := c.Status(ctx, g); err != nil || s.State == custodian.Destroyed {
					return s, &custodian.Error{Op: "destroy", Err: errors.Join(custodian.ErrUnknown, err)}
				}
				return c.Destroy(ctx, g)
			}}
		}},
		{"a new time at every call", "Destroy", func(c custodian.Custodian) custodian.Custodian {
			return altered{Custodian: c, status: func(ctx context.Context, g uint64) (custodian.Status, error) {
				s, err := c.Status(ctx, g)
				if s.State == custodian.Destroyed {
					s.Destroyed = s.Destroyed.Add(time.Second)
					s.Irrecoverable = s.Destroyed
				}
				return s, err
			}}
		}},
		{"keeps what it destroyed in memory", "Destroy", func(c custodian.Custodian) custodian.Custodian {
			seen := map[string]custodian.Share{}
			return altered{Custodian: c,
				wrap: func(ctx context.Context, g uint64, s custodian.Share) ([]byte, error) {
					blob, err := c.Wrap(ctx, g, s)
					seen[string(blob)] = s
					return blob, err
				},
				unwrap: func(ctx context.Context, g uint64, blob []byte) (custodian.Share, error) {
					if s, ok := seen[string(blob)]; ok {
						return s, nil
					}
					return c.Unwrap(ctx, g, blob)
				}}
		}},
		{"says a better class", "Create", func(c custodian.Custodian) custodian.Custodian {
			return altered{Custodian: c, create: func(ctx context.Context, g uint64) (custodian.Status, error) {
				s, err := c.Create(ctx, g)
				s.Class = custodian.BestEffort
				return s, err
			}}
		}},
		{"nothing for the certificate", "Create", func(c custodian.Custodian) custodian.Custodian {
			return altered{Custodian: c, status: func(ctx context.Context, g uint64) (custodian.Status, error) {
				s, err := c.Status(ctx, g)
				s.Attestation = nil
				return s, err
			}}
		}},
		{"a second life", "DestroyedStays", newLifeAfterDestroy},
		{"destroys the others too", "OthersLive", func(c custodian.Custodian) custodian.Custodian {
			return altered{Custodian: c, destroy: func(ctx context.Context, g uint64) (custodian.Status, error) {
				_, _ = c.Destroy(ctx, 10*g+1)
				return c.Destroy(ctx, g)
			}}
		}},
		{"32-bit generations", "Generations", func(c custodian.Custodian) custodian.Custodian {
			return altered{Custodian: c, create: func(ctx context.Context, g uint64) (custodian.Status, error) {
				return c.Create(ctx, uint64(uint32(g)))
			}}
		}},
		{"deaf to contexts", "Cancelled", func(c custodian.Custodian) custodian.Custodian {
			return altered{Custodian: c, destroy: func(ctx context.Context, g uint64) (custodian.Status, error) {
				return c.Destroy(context.WithoutCancel(ctx), g)
			}}
		}},
		{"fails when it is busy", "Together", func(c custodian.Custodian) custodian.Custodian {
			busy := make(chan struct{}, 1)
			return altered{Custodian: c, unwrap: func(ctx context.Context, g uint64, blob []byte) (custodian.Share, error) {
				select {
				case busy <- struct{}{}:
					defer func() { <-busy }()
					time.Sleep(20 * time.Millisecond)
					return c.Unwrap(ctx, g, blob)
				default:
					return custodian.Share{}, custodian.ErrUnavailable
				}
			}}
		}},
		{"each opener has its own key", "CreateTogether", func(custodian.Custodian) custodian.Custodian {
			return NewMemory(custodian.Erasure{Class: custodian.Immediate}).Open(custodian.Identity{Archive: archive(), Name: "alone"})
		}},
	}
	tried := map[string]bool{}
	for _, fault := range faults {
		tried[fault.check] = true
		for _, c := range checks() {
			if c.name != fault.check {
				continue
			}
			err := c.run(newBench(t, deviceOf(custodian.Erasure{Class: custodian.Immediate}, fault.wrong)))
			if err == nil {
				t.Errorf("%s: the check %s finds nothing", fault.name, c.name)
			}
		}
	}
	for _, c := range checks() {
		if !tried[c.name] {
			t.Errorf("nothing shows that the check %s can fail", c.name)
		}
	}
}

// newLifeAtCreate gives a generation another key whenever Create is called: generations are mapped to new ones.
func newLifeAtCreate(c custodian.Custodian) custodian.Custodian { return remapped(c, true) }

// newLifeAfterDestroy does so after Destroy only.
func newLifeAfterDestroy(c custodian.Custodian) custodian.Custodian { return remapped(c, false) }

func remapped(c custodian.Custodian, always bool) custodian.Custodian {
	lives := map[uint64]uint64{}
	at := func(g uint64) uint64 { return g + 1000*lives[g] }
	return altered{Custodian: c,
		create: func(ctx context.Context, g uint64) (custodian.Status, error) {
			s, err := c.Status(ctx, at(g))
			if err == nil && (s.State == custodian.Destroyed || always && s.State == custodian.Live) {
				lives[g]++
			}
			return c.Create(ctx, at(g))
		},
		destroy: func(ctx context.Context, g uint64) (custodian.Status, error) { return c.Destroy(ctx, at(g)) },
		status:  func(ctx context.Context, g uint64) (custodian.Status, error) { return c.Status(ctx, at(g)) },
		wrap: func(ctx context.Context, g uint64, s custodian.Share) ([]byte, error) {
			return c.Wrap(ctx, at(g), s)
		},
		unwrap: func(ctx context.Context, g uint64, blob []byte) (custodian.Share, error) {
			return c.Unwrap(ctx, at(g), blob)
		},
	}
}
