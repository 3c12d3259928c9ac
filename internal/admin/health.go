package admin

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"credproxy/proxy"
)

// patience is how long Postgres may be away, saving fail, memory be full or the lock be lost before the proxy is not ready:
// sessions in Redis are served meanwhile, and a restart of Postgres should not take every proxy out of service.
const patience = 10 * time.Second

// Finding is one thing that is not as it should be, with its consequence in words.
type Finding struct {
	Code   string `json:"code"`
	Level  string `json:"level"` // error, warning or note
	Text   string `json:"text"`
	Blocks bool   `json:"blocks_readiness"`
}

// findings judges. It is pure: the same stats and pulses give the same findings.
func findings(st *proxy.Stats, redis, postgres proxy.Pulse, now time.Time) []Finding {
	list := []Finding{}
	add := func(when bool, code, level string, blocks bool, text string) {
		if when {
			list = append(list, Finding{code, level, text, blocks})
		}
	}
	waiting := ""
	if st.DirtyKeys > 0 {
		waiting = fmt.Sprintf(" %s to be saved.", counted(st.DirtyKeys, "key waits", "keys wait"))
	}
	away := postgres.Known && !postgres.Up
	add(st.Closing, "closing", "warning", true, "The proxy is shutting down: it takes no new clients and saves what is unsaved."+waiting)
	add(redis.Known && !redis.Up, "redis_away", "error", true,
		"Redis is away: commands are answered with an error at once, and nothing is lost. They work again when Redis does.")
	add(away, "postgres_away", "error", now.Sub(postgres.Since) >= patience,
		"Postgres is away: nothing can be evicted, evicted sessions and deletes wait; sessions in Redis are served."+waiting)
	add(!away && st.NotSaving > 0, "saving_fails", "error", st.NotSaving >= patience,
		"Changed keys cannot be saved: they stay in Redis, marked, and are not evicted; the log says why."+waiting)
	add(st.MemoryFull, "memory_full", "error", st.FullFor >= patience,
		"Memory is over the threshold and no session may be evicted: Redis will refuse writes when it is full."+reasonOf(st.FullWhy))
	// With Postgres the lock is away, too, and comes back soon after it.
	add(!away && !st.Enforcing, "not_enforcing", "error", now.Sub(postgres.Since) >= patience,
		"The lock on the memory policy is not held: this proxy evicts nothing until it has the lock.")
	add(st.Paused, "paused", "warning", false, "Eviction is paused by an operator: memory can grow past the threshold.")
	add(st.RedisPolicy != "" && st.RedisPolicy != "noeviction", "redis_policy", "warning", false,
		fmt.Sprintf("Redis's maxmemory-policy is %s: Redis may drop single keys of a session by itself. Set it to noeviction.", st.RedisPolicy))
	add(st.Thrashing.On, "thrashing", "warning", false, "Thrashing: "+st.Thrashing.Text+".")
	for _, text := range st.MemoryWarnings {
		add(true, "redis_memory", "warning", false, text+".")
	}
	add(st.AdoptionPending > 0, "adopting", "note", false,
		fmt.Sprintf("Sessions from before the proxy are being adopted (%s looked at): until that is over, none of them is evicted.",
			counted(st.AdoptionKeys, "key", "keys")))
	return list
}

// reasonOf makes a sentence of what the policy has found.
func reasonOf(why string) string {
	if why == "" {
		return ""
	}
	return " " + strings.ToUpper(why[:1]) + why[1:] + "."
}

// counted is a number with thousands separated, and its noun.
func counted(n int64, one, many string) string {
	noun := many
	if n == 1 {
		noun = one
	}
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits + " " + noun
}

// judge judges the proxy now.
func (s *Site) judge(st *proxy.Stats) (list []Finding, ready bool) {
	list = findings(st, st.Redis, st.Postgres, time.Now())
	for i := range list {
		if list[i].Blocks {
			return list, false
		}
	}
	return list, true
}
