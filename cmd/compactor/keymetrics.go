package main

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stelelog/stele/backup/keys"
)

// keyMetric is one figure of the key service.
type keyMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*keys.Stats) float64
}

// keysCollector turns the figures of the key service into metrics. It names nobody.
type keysCollector struct {
	stats   func() *keys.Stats
	role    *prometheus.Desc
	metrics []keyMetric
}

func newKeysCollector(stats func() *keys.Stats) *keysCollector {
	figure := func(name, help string, kind prometheus.ValueType, value func(*keys.Stats) float64) keyMetric {
		return keyMetric{prometheus.NewDesc("stele_"+name, help, nil, nil), kind, value}
	}
	return &keysCollector{
		stats: stats,
		role:  prometheus.NewDesc("stele_key_service", "1 if this process is the key service.", nil, nil),
		metrics: []keyMetric{
			figure("erasures_waiting", "Approved requests to erase that wait to be carried out.", prometheus.GaugeValue,
				func(s *keys.Stats) float64 { return float64(s.Waiting) }),
			figure("erasures_waiting_seconds", "How long the first of them has waited since it was approved.", prometheus.GaugeValue,
				func(s *keys.Stats) float64 {
					if s.Oldest.IsZero() {
						return 0
					}
					return time.Since(s.Oldest).Seconds()
				}),
			figure("erasures_deferred", "Approved requests of which a hold or minimum retention keeps something.", prometheus.GaugeValue,
				func(s *keys.Stats) float64 { return float64(s.Deferred) }),
			figure("erasures_total", "Generations of keys that were left to erase some.", prometheus.CounterValue,
				func(s *keys.Stats) float64 { return float64(s.Erasures) }),
			figure("erased_scopes_total", "Scopes whose keys were erased.", prometheus.CounterValue,
				func(s *keys.Stats) float64 { return float64(s.Scopes) }),
			figure("generations_undestroyed", "Generations that were left and can still be opened.", prometheus.GaugeValue,
				func(s *keys.Stats) float64 { return float64(s.Undestroyed) }),
			figure("erasures_overdue", "Days of keys and weeks of intake keys that are over by the clock here and wait for the second clock.", prometheus.GaugeValue,
				func(s *keys.Stats) float64 { return float64(s.Overdue) }),
			figure("grants_unread_total", "Times that the grants transport could not be read for readers, who got keys without the newest grants.", prometheus.CounterValue,
				func(s *keys.Stats) float64 { return float64(s.Unread) }),
			figure("foreign_grants_total", "Messages of other archives that were found in the grants transport.", prometheus.CounterValue,
				func(s *keys.Stats) float64 { return float64(s.Foreign) }),
			figure("foreign_grants_held", "1 while nothing is removed behind grants of another archive.", prometheus.GaugeValue,
				func(s *keys.Stats) float64 {
					if s.HeldSince.IsZero() {
						return 0
					}
					return 1
				}),
			figure("erasure_clock_behind_seconds", "How far the second clock of erasures without a request is behind the clock here; +Inf if nobody tells the time.", prometheus.GaugeValue,
				func(s *keys.Stats) float64 {
					if s.Behind == math.MaxInt64 {
						return math.Inf(1)
					}
					return s.Behind.Seconds()
				}),
		},
	}
}

// Describe implements prometheus.Collector.
func (c *keysCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- c.role
	for _, m := range c.metrics {
		descs <- m.desc
	}
}

// Collect implements prometheus.Collector. Where another process is the key service, it has the figures.
func (c *keysCollector) Collect(out chan<- prometheus.Metric) {
	s := c.stats()
	if s == nil {
		out <- prometheus.MustNewConstMetric(c.role, prometheus.GaugeValue, 0)
		return
	}
	out <- prometheus.MustNewConstMetric(c.role, prometheus.GaugeValue, 1)
	for _, m := range c.metrics {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(s))
	}
}
