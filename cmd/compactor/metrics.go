package main

import (
	"maps"
	"runtime/debug"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/stelelog/stele/backup/compact"
	"github.com/stelelog/stele/backup/keys"
)

// metric is one figure of the compactor.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*compact.Stats) float64
}

func counter(name, help string, value func(*compact.Stats) uint64) metric {
	return metric{prometheus.NewDesc("stele_"+name, help, nil, nil), prometheus.CounterValue,
		func(s *compact.Stats) float64 { return float64(value(s)) }}
}

// statsCollector turns the counts of a compactor into metrics. It carries no data of records.
type statsCollector struct {
	stats   func() compact.Stats
	metrics []metric
	halted  *prometheus.Desc
	failing *prometheus.Desc
	behind  *prometheus.Desc
}

func newStatsCollector(stats func() compact.Stats) *statsCollector {
	return &statsCollector{
		stats:   stats,
		halted:  prometheus.NewDesc("stele_partition_halted", "1 for a partition that stopped because its source diverged from the archive.", []string{"partition"}, nil),
		failing: prometheus.NewDesc("stele_failing", "1 for a part of the compactor that fails now and is tried again; /readyz and the log say why.", []string{"part"}, nil),
		behind:  prometheus.NewDesc("stele_cosigning_behind_entries", "Entries of the control log that a witness of the trust file has not cosigned.", []string{"witness"}, nil),
		metrics: []metric{
			counter("leaves_total", "Leaves taken into segments.", func(s *compact.Stats) uint64 { return s.Records }),
			counter("frame_bytes_total", "Bytes of the frames of these leaves.", func(s *compact.Stats) uint64 { return s.Bytes }),
			counter("uploaded_bytes_total", "Bytes of objects stored.", func(s *compact.Stats) uint64 { return s.Uploaded }),
			counter("commits_total", "Segments committed.", func(s *compact.Stats) uint64 { return s.Commits }),
			counter("commits_lost_total", "Segments thrown away because another compactor took the number.", func(s *compact.Stats) uint64 { return s.Lost }),
			counter("duplicate_frames_total", "Frames dropped because the archive has them.", func(s *compact.Stats) uint64 { return s.Duplicates }),
			counter("quarantined_messages_total", "Messages set aside: undecodable, not authentic, or equivocal.", func(s *compact.Stats) uint64 { return s.Quarantined }),
			{prometheus.NewDesc("stele_heads_pending", "Heads that are committed and not yet in the control log.", nil, nil), prometheus.GaugeValue,
				func(s *compact.Stats) float64 { return float64(s.Pending) }},
		},
	}
}

// Describe implements prometheus.Collector.
func (c *statsCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		descs <- m.desc
	}
	descs <- c.halted
	descs <- c.failing
	descs <- c.behind
}

// Collect implements prometheus.Collector.
func (c *statsCollector) Collect(out chan<- prometheus.Metric) {
	s := c.stats()
	for _, m := range c.metrics {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(&s))
	}
	for _, p := range slices.Sorted(maps.Keys(s.Halted)) {
		out <- prometheus.MustNewConstMetric(c.halted, prometheus.GaugeValue, 1, strconv.Itoa(p))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Behind)) {
		out <- prometheus.MustNewConstMetric(c.behind, prometheus.GaugeValue, float64(s.Behind[name]), name)
	}
	for _, part := range slices.Sorted(maps.Keys(s.Failing)) {
		out <- prometheus.MustNewConstMetric(c.failing, prometheus.GaugeValue, 1, part)
	}
}

// newRegistry has the metrics of the compactor, of the key service, of the process and of the runtime. service is nil where
// another process is the key service.
func newRegistry(stats func() compact.Stats, service func() *keys.Stats) *prometheus.Registry {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "stele_build_info", Help: "The version of this build, always 1.",
		ConstLabels: prometheus.Labels{"version": version}})
	build.Set(1)
	r := prometheus.NewRegistry()
	r.MustRegister(newStatsCollector(stats), build, newKeysCollector(service), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}
