package proxy

import (
	"cmp"
	"fmt"

	"credproxy/lru"
)

// DefaultMax is memory.max where neither the configuration nor Redis says anything, bytes.
const DefaultMax = 1 << 30

// followLocked takes the budget from Redis's own maxmemory, where the configuration leaves it to that. The caller holds mu.
func (p *policy) followLocked() {
	if p.cfg.MaxFromRedis {
		p.cfg.Budget.Max = cmp.Or(p.last.maxmem, DefaultMax)
	}
}

// The texts below are warnings about the Redis of a sample, each with what will happen; "" if there is nothing to say.

// aboveMaxmemory compares the budget with Redis's own limit.
func aboveMaxmemory(b lru.Budget, maxmem int64) string {
	if maxmem == 0 || b.Max <= maxmem {
		return ""
	}
	text := fmt.Sprintf("memory.max (%s) is above Redis's own maxmemory (%s): ", bytesText(b.Max), bytesText(maxmem))
	if b.Max/100*int64(b.Threshold) >= maxmem {
		text += "Redis refuses writes before eviction begins, and each refused write then waits for an eviction of its own. "
	} else {
		text += "Redis refuses writes while there should be room, and each refused write then waits for an eviction of its own. "
	}
	return text + "Leave memory.max out, or set it to " + bytesText(maxmem/100*80) + " or less, or raise maxmemory"
}

// wornOut is how much more than the budget Redis's process may have in memory before that is worth a word: half as much again, and no
// less than what small Redis servers need for themselves.
func wornOut(b lru.Budget) int64 { return b.Max + max(b.Max/2, 64<<20) }

// fragmented looks at what the system has given Redis's process. It is no matter of eviction: what is free in there is Redis's to use.
func fragmented(b lru.Budget, m sample) string {
	if m.rss <= wornOut(b) || m.raw > b.Max {
		return ""
	}
	return fmt.Sprintf("Redis's process has %s of memory for %s of data (memory.max is %s): the machine can run out of it although the budget holds. "+
		"Set activedefrag to yes in Redis, or run MEMORY PURGE; a restart of Redis ends it", bytesText(m.rss), bytesText(m.raw), bytesText(b.Max))
}

// fragmentation is Redis's mem_fragmentation_ratio, 0 if it is not known.
func (m *sample) fragmentation() float64 {
	if m.raw == 0 {
		return 0
	}
	return float64(m.rss) / float64(m.raw)
}

// redisMemory is told of what is wrong with Redis's own limits and its process, "": nothing.
func (a *alarms) redisMemory(above, fragmented, evicts string) {
	a.lasting("above maxmemory", above)
	a.lasting("fragmented", fragmented)
	a.lasting("maxmemory-policy", evicts)
}

// lasting says a warning when it begins and while it lasts.
func (a *alarms) lasting(what, text string) {
	if text == "" {
		a.clear(what)
		return
	}
	if a.raise(what) {
		a.log.Warn(text)
	}
}

// evictsItself is about Redis's own eviction.
func evictsItself(m sample) string {
	if m.policy == "" || m.policy == "noeviction" {
		return ""
	}
	return "Redis's maxmemory-policy is " + m.policy + ": Redis may drop single keys of a session by itself. Set it to noeviction"
}

// memoryWarnings are what Stats has of them; Redis's own eviction stands beside them, in RedisPolicy.
func memoryWarnings(b lru.Budget, m sample) (list []string) {
	for _, text := range []string{aboveMaxmemory(b, m.maxmem), fragmented(b, m)} {
		if text != "" {
			list = append(list, text)
		}
	}
	return list
}

// lookAtRedis warns of what a sample shows besides the memory that is used.
func (p *policy) lookAtRedis() {
	m, cfg, _ := p.snapshot()
	p.s.alarms.redisMemory(aboveMaxmemory(cfg.Budget, m.maxmem), fragmented(cfg.Budget, m), evictsItself(m))
}
