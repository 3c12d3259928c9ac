package admin

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"credproxy/keyspace"
	"credproxy/proxy"
)

// metrics are what Prometheus gets. All but the two histograms are read off one proxy.Stats at every scrape, so nothing is
// counted twice and the data path pays nothing. Label values come from fixed lists; CREDPROXY CLEAR looks like a restart.
type metrics struct {
	registry *prometheus.Registry
	restored prometheus.Histogram
	answered prometheus.Histogram
}

func newMetrics(s *Site) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		restored: newHistogram("credproxy_restore_duration_seconds", "Time to bring one session from Postgres into Redis."),
		answered: newHistogram("credproxy_batch_duration_seconds",
			"Time from the arrival of a client's batch of commands to its last reply; one batch in 64 of every client, without blocking commands."),
	}
	m.registry.MustRegister(m.restored, m.answered, &scraper{site: s},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// newHistogram has classic buckets for every Prometheus and native ones for those that take them.
func newHistogram(name, help string) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help,
		Buckets:                         []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
	})
}

func (m *metrics) observer() proxy.Observer {
	return proxy.Observer{
		Restored: func(d time.Duration) { m.restored.Observe(d.Seconds()) },
		Answered: func(d time.Duration) { m.answered.Observe(d.Seconds()) },
	}
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, EnableOpenMetrics: true})
}

// figure is one metric that is read off the state of a moment.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(v *view, emit func(value float64, label string))
}

// view is what figures read.
type view struct {
	st    proxy.Stats
	ready bool
}

// scraper collects the figures.
type scraper struct{ site *Site }

// Describe is part of prometheus.Collector.
func (*scraper) Describe(ch chan<- *prometheus.Desc) {
	ch <- buildInfo
	for i := range figures {
		ch <- figures[i].desc
	}
}

// Collect is part of prometheus.Collector.
func (c *scraper) Collect(ch chan<- prometheus.Metric) {
	v := &view{st: c.site.proxy.Stats()}
	_, v.ready = c.site.judge(&v.st)
	ch <- prometheus.MustNewConstMetric(buildInfo, prometheus.GaugeValue, 1, v.st.Version, runtime.Version())
	for i := range figures {
		f := &figures[i]
		f.read(v, func(value float64, label string) {
			if label == "" {
				ch <- prometheus.MustNewConstMetric(f.desc, f.kind, value)
				return
			}
			ch <- prometheus.MustNewConstMetric(f.desc, f.kind, value, label)
		})
	}
}

var buildInfo = prometheus.NewDesc("credproxy_build_info", "The program's version; always 1.", []string{"version", "go_version"}, nil)

func gauge(name, help string, read func(*view) float64) figure {
	return single(prometheus.GaugeValue, name, help, read)
}

func counter(name, help string, read func(*view) float64) figure {
	return single(prometheus.CounterValue, name, help, read)
}

func single(kind prometheus.ValueType, name, help string, read func(*view) float64) figure {
	return figure{prometheus.NewDesc("credproxy_"+name, help, nil, nil), kind, func(v *view, emit func(float64, string)) { emit(read(v), "") }}
}

func labelled(kind prometheus.ValueType, name, help, label string, read func(*view, func(float64, string))) figure {
	return figure{prometheus.NewDesc("credproxy_"+name, help, []string{label}, nil), kind, read}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func percent(of int64, p int) float64 { return float64(of) * float64(p) / 100 }

var figures = []figure{
	gauge("memory_used_bytes", "Memory that Redis uses, less what it does not count for eviction, at the last sample.", func(v *view) float64 { return float64(v.st.Used) }),
	gauge("memory_max_bytes", "The budget, memory.max.", func(v *view) float64 { return float64(v.st.Max) }),
	gauge("memory_threshold_bytes", "Eviction starts above this.", func(v *view) float64 { return percent(v.st.Max, v.st.Threshold) }),
	gauge("memory_target_bytes", "Eviction stops under this.", func(v *view) float64 { return percent(v.st.Max, v.st.Target) }),
	gauge("memory_sample_timestamp_seconds", "When memory was sampled last; 0: never yet.", sampledAt),
	gauge("memory_full", "1 while memory is over the threshold and no session may be evicted.", func(v *view) float64 { return truth(v.st.MemoryFull) }),
	gauge("redis_rss_bytes", "Memory that Redis's process has of the system, at the last sample.", func(v *view) float64 { return float64(v.st.RSS) }),
	gauge("redis_maxmemory_bytes", "Redis's own maxmemory; 0: none.", func(v *view) float64 { return float64(v.st.RedisMaxMemory) }),

	labelled(prometheus.GaugeValue, "sessions", "Sessions by state.", "state", func(v *view, emit func(float64, string)) {
		n := v.st.Sessions
		emit(float64(n.Unknown), "unknown")
		emit(float64(n.Loading), "loading")
		emit(float64(n.Resident), "resident")
		emit(float64(n.Evicting), "evicting")
		emit(float64(n.Evicted), "evicted")
	}),
	labelled(prometheus.CounterValue, "evictions_total", "Evicted sessions by reason.", "reason", func(v *view, emit func(float64, string)) {
		n := v.st.Evictions
		emit(float64(n.Memory), "memory")
		emit(float64(n.Inactivity), "inactivity")
		emit(float64(n.Rescue), "rescue")
		emit(float64(n.Command), "command")
		emit(float64(n.Keyspace), "keyspace")
	}),
	labelled(prometheus.CounterValue, "eviction_passed_over_total", "Times a session stayed although one used later went, by reason.", "reason", func(v *view, emit func(float64, string)) {
		for _, r := range v.st.PassedOver {
			emit(float64(r.N), r.Reason)
		}
	}),
	labelled(prometheus.GaugeValue, "keyspace_bytes", "Estimated bytes of a keyspace's sessions in Redis.", "keyspace", func(v *view, emit func(float64, string)) {
		for _, k := range v.st.Keyspaces {
			emit(float64(k.Bytes), k.Name)
		}
	}),
	labelled(prometheus.GaugeValue, "keyspace_max_bytes", "A keyspace's own budget, where it has one.", "keyspace", func(v *view, emit func(float64, string)) {
		for _, k := range v.st.Keyspaces {
			if k.Max > 0 {
				emit(float64(k.Max), k.Name)
			}
		}
	}),
	counter("restores_total", "Sessions restored from Postgres.", func(v *view) float64 { return float64(v.st.Restores) }),
	counter("restore_errors_total", "Restores that failed.", func(v *view) float64 { return float64(v.st.RestoreErrors) }),
	counter("quick_restores_total", "Restores of sessions that had been evicted for want of memory less than 2 minutes before.", func(v *view) float64 { return float64(v.st.Thrashing.QuickEver) }),
	gauge("thrashing", "1 while most restores of the last 5 minutes are such, and 50 or more.", func(v *view) float64 { return truth(v.st.Thrashing.On) }),
	gauge("memory_advised_bytes", "The memory.max that would have kept nine tenths of the sessions that came back so soon in the last 5 minutes; 0: none did.", func(v *view) float64 { return float64(v.st.Thrashing.Advised) }),

	gauge("save_queue_keys", "Changed keys that are not in Postgres yet.", func(v *view) float64 { return float64(v.st.DirtyKeys) }),
	gauge("save_lag_seconds", "Age of the oldest change that is not in Postgres yet.", func(v *view) float64 { return v.st.SaveLag.Seconds() }),
	gauge("save_failing", "1 while changed keys cannot be saved.", func(v *view) float64 { return truth(v.st.NotSaving > 0) }),
	counter("saved_keys_total", "Keys saved to Postgres.", func(v *view) float64 { return float64(v.st.SavedKeys) }),

	counter("hits_total", "Commands whose sessions were all in Redis.", func(v *view) float64 { return float64(v.st.Hits) }),
	counter("misses_total", "Commands that had to wait for a session.", func(v *view) float64 { return float64(v.st.Misses) }),
	counter("slow_waits_total", "Commands that waited for a session for as long as log.slow or longer.", func(v *view) float64 { return float64(v.st.SlowWaits) }),
	labelled(prometheus.CounterValue, "commands_total", "Commands by family.", "family", func(v *view, emit func(float64, string)) {
		for i, n := range v.st.Families {
			emit(float64(n), keyspace.FamilyNames[i])
		}
	}),
	counter("oom_rescues_total", "Commands sent again after Redis had refused them for want of memory.", func(v *view) float64 { return float64(v.st.Rescues) }),
	gauge("clients", "Connected clients.", func(v *view) float64 { return float64(v.st.Clients) }),
	gauge("clients_max", "Clients that are served at once at most.", func(v *view) float64 { return float64(v.st.MaxClients) }),

	gauge("redis_up", "1 if Redis answered the last PING.", func(v *view) float64 { return truth(v.st.Redis.Up) }),
	gauge("redis_ping_seconds", "Round trip of the last PING that Redis answered.", func(v *view) float64 { return v.st.Redis.Latency.Seconds() }),
	gauge("postgres_up", "1 if Postgres answered the last time it was asked.", func(v *view) float64 { return truth(v.st.Postgres.Up) }),
	gauge("postgres_ping_seconds", "Round trip of the last question that Postgres answered.", func(v *view) float64 { return v.st.Postgres.Latency.Seconds() }),
	gauge("ready", "1 if /readyz says so.", func(v *view) float64 { return truth(v.ready) }),

	gauge("policy_enforcing", "1 while this process holds the lock on the memory policy.", func(v *view) float64 { return truth(v.st.Enforcing) }),
	gauge("policy_paused", "1 while eviction is paused by an operator.", func(v *view) float64 { return truth(v.st.Paused) }),
	gauge("adoption_pending_databases", "Databases whose keys from before the proxy are still to be looked at.", func(v *view) float64 { return float64(v.st.AdoptionPending) }),
	gauge("uptime_seconds", "Since the proxy began.", func(v *view) float64 { return v.st.Uptime.Seconds() }),
}

func sampledAt(v *view) float64 {
	if v.st.SampledAt.IsZero() {
		return 0
	}
	return float64(v.st.SampledAt.UnixMilli()) / 1000
}
