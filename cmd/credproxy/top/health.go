package top

import (
	"fmt"
	"strings"

	"credproxy/internal/human"
)

// finding is something that is not as it should be, with what follows from it.
type finding struct {
	style style
	text  string
}

// findings judges the last answer, the worst first.
func (m *Model) findings() []finding {
	var list []finding
	add := func(when bool, st style, text string) {
		if when {
			list = append(list, finding{st, text})
		}
	}
	if m.trouble != "" {
		list = append(list, m.away())
	}
	st := m.stats
	if st == nil {
		return list
	}
	saving, enforcing := st.n("not_saving_ms") == 0, st.n("enforcing") != 0
	away := st.n("postgres_away_ms") > 0 || !saving && !enforcing
	add(st.n("closing") != 0, warn, "The proxy is shutting down: it takes no new clients and saves what is unsaved."+m.waiting())
	add(st.n("redis_away_ms") > 0, bad, "Redis is away"+st.lasting("redis_away_ms")+": commands are answered with an error at once, and nothing is lost.")
	add(away, bad, "Postgres is away"+st.lasting("postgres_away_ms")+": nothing can be evicted, evicted sessions and deletes wait; sessions in Redis are served."+m.waiting())
	add(!away && !saving, bad, "Saving has failed for "+st.millis("not_saving_ms")+": what is unsaved stays in Redis and is not evicted."+m.waiting())
	add(!away && !enforcing, bad, "The lock on the memory policy is not held: this proxy evicts nothing until it has the lock.")
	add(st.n("memory_full") != 0, bad, "Memory is over the threshold and no session may be evicted: Redis will refuse writes when it is full.")
	add(st.n("thrashing") != 0, warn, "Thrashing: evicted sessions come back at once. "+st.advice())
	add(st.n("paused") != 0, warn, "Eviction is paused by an operator: memory can grow past the threshold. P lets it go on.")
	add(st.n("adoption_pending") != 0, warn, fmt.Sprintf("Sessions from before the proxy are being adopted, and not evicted meanwhile: %s of about %s keys looked at.",
		st.count("adoption_keys"), st.count("adoption_keys_total")))
	add(st.n("maxclients") > 0 && st.n("clients") >= st.n("maxclients"), bad, "No more clients are let in: all "+st.count("maxclients")+" are connected.")
	return list
}

// away says why there is no answer, and how old the numbers are.
func (m *Model) away() finding {
	text := fmt.Sprintf("No answer from %s for %s, asking again", m.Addr, human.Age(m.Clock().Sub(m.since)))
	if m.stats != nil {
		text += fmt.Sprintf(" (numbers of %s)", m.past.at.Format("15:04:05"))
	}
	return finding{bad, text + ": " + human.Printable(firstLine(m.trouble))}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func (m *Model) waiting() string {
	switch n := int64(m.stats.n("dirty_keys")); n {
	case 0:
		return ""
	case 1:
		return " 1 key waits to be saved."
	default:
		return fmt.Sprintf(" %s keys wait to be saved.", human.Count(n))
	}
}
