package proxy

import (
	"strings"
	"testing"
	"time"

	"credproxy/lru"
)

func TestExplanations(t *testing.T) {
	const mb = 1 << 20
	at := func(change func(*facts)) facts {
		f := facts{space: "baileys", state: resident, policy: lru.LRU, idle: 5 * time.Minute, needed: 31 * mb, wait: 30 * time.Second,
			place: place{rank: 412, of: 5000}}
		change(&f)
		return f
	}
	for _, c := range []struct {
		f    facts
		want string
	}{
		{at(func(f *facts) {}), "resident: 412th of 5,000 by recency in baileys; goes when about 31 MB more are needed"},
		{at(func(f *facts) { f.ttl = 168 * time.Hour }),
			"resident: 412th of 5,000 by recency in baileys; goes when about 31 MB more are needed, or when idle for 7d (idle for 5m now)"},
		{at(func(f *facts) { f.needed = 0 }), "resident: 412th of 5,000 by recency in baileys; goes next, memory is over the threshold"},
		{at(func(f *facts) { f.needed = -1 }), "resident: 412th of 5,000 by recency in baileys"},
		{at(func(f *facts) { f.spaceMax, f.within = 64*mb, 2*mb }),
			"resident: 412th of 5,000 by recency in baileys; goes when its keyspace, whose max is 64 MB, needs about 2 MB more"},
		{at(func(f *facts) { f.spaceMax, f.within = 64*mb, 50*mb }), "resident: 412th of 5,000 by recency in baileys; goes when about 31 MB more are needed"},
		{at(func(f *facts) { f.policy = lru.GDSF }),
			"resident: 412th of 5,000 by recency in baileys; memory.policy gdsf decides when it goes, which weighs more than recency"},
		{at(func(f *facts) { f.paused, f.notOwner = true, true }),
			"resident: 412th of 5,000 by recency in baileys; goes when about 31 MB more are needed; eviction is paused (CREDPROXY RESUME ends that); " +
				"this process does not hold the lock on the memory policy and evicts nothing"},
		{at(func(f *facts) { f.away = true }),
			"resident: 412th of 5,000 by recency in baileys; goes when about 31 MB more are needed; Postgres does not answer, so nothing is evicted until it does"},
		{at(func(f *facts) { f.poisoned = 2 }),
			"resident: 412th of 5,000 by recency in baileys; goes when about 31 MB more are needed; 2 keys in Postgres cannot be restored, commands that name them get an error (the log says which)"},

		{at(func(f *facts) { f.why = isPinned }), "resident, would not be evicted now: it is pinned (CREDPROXY UNPIN lets it go)"},
		{at(func(f *facts) { f.why, f.users = isBusy, "1 command that blocks" }), "resident, would not be evicted now: it is in use: 1 command that blocks"},
		{at(func(f *facts) { f.why, f.dirty = notSaved, 1200 }), "resident, would not be evicted now: 1,200 keys of it are not in Postgres yet, it can go when they are"},
		{at(func(f *facts) { f.why, f.obstacle = notSaved, "a removal is under way" }), "resident, would not be evicted now: a removal is under way"},
		{at(func(f *facts) { f.why, f.adopted, f.toAdopt = notAdopted, 10, 20000 }),
			"resident, would not be evicted now: keys that were in Redis before the proxy are still being saved (10 of about 20,000 looked at)"},
		{at(func(f *facts) { f.why, f.avoided = wasRefused, 17*time.Second }),
			"resident, would not be evicted now: it could not be evicted (the log says why) and is tried again in 18s"},
		{at(func(f *facts) { f.why, f.idle, f.minIdle = usedLately, 4*time.Second, 30*time.Second }),
			"resident, would not be evicted now: it was used 4s ago and min_idle is 30s"},
		{at(func(f *facts) { f.why = isFresh }), "resident, would not be evicted now: it was restored a moment ago, others go first"},
		{at(func(f *facts) { f.why, f.obstacle = otherRun, "Redis was restarted since it was last used" }),
			"resident, would not be evicted now: Redis was restarted since it was last used"},

		{at(func(f *facts) { f.state, f.cause, f.left = evicted, overMemory, 90*time.Minute }),
			"evicted 1h30m ago because memory was over the threshold: its keys are in Postgres, the next command on it or CREDPROXY RESTORE brings it back"},
		{at(func(f *facts) { f.state, f.cause, f.left, f.away = evicted, byHand, 3*time.Second, true }),
			"evicted 3s ago by hand: its keys are in Postgres, the next command on it or CREDPROXY RESTORE brings it back; " +
				"Postgres does not answer: a command on it waits up to 30s, then gets TRYAGAIN"},
		{at(func(f *facts) { f.state = evicted }),
			"evicted by an earlier process: its keys are in Postgres, the next command on it or CREDPROXY RESTORE brings it back"},
		{at(func(f *facts) { f.state = unknown }), "unknown: nothing has touched it in this run of Redis, or a restore has failed; the next command on it looks in Postgres"},
		{at(func(f *facts) { f.state = loading }), "loading: it is being restored from Postgres, commands on it wait"},
		{at(func(f *facts) { f.state = evicting }), "evicting: it is being taken out of Redis, which takes milliseconds"},
	} {
		if got := c.f.sentence(); got != c.want || strings.Contains(got, "\n") {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestOrdinals(t *testing.T) {
	for n, want := range map[int]string{1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 11: "11th", 12: "12th", 13: "13th", 21: "21st", 112: "112th", 1003: "1,003rd"} {
		if got := ordinal(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

// What keeps every session names its counts, and the remedy for the most frequent reason.
func TestFloor(t *testing.T) {
	for _, c := range []struct {
		n    [reasons]int64
		want string
	}{
		{[reasons]int64{isPinned: 3, isBusy: 2}, "of the sessions in Redis 3 are pinned, 2 are in use; unpin some (CREDPROXY UNPIN id)"},
		{[reasons]int64{notSaved: 9, isBusy: 2}, "of the sessions in Redis 2 are in use, 9 are not saved yet; see why saving fails or lags (sync_lag_ms in CREDPROXY STATS, the log)"},
		{[reasons]int64{usedLately: 1}, "of the sessions in Redis 1 were used less than min_idle ago; lower min_idle, or raise memory.max"},
		{[reasons]int64{}, "no session is in Redis, so what fills it are keys of no keyspace: see which (redis-cli --bigkeys), or raise memory.max"},
	} {
		if got := describeFloor(c.n); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// The interval is kept however often the policy is woken in between, and a shorter one counts at once.
func TestSchedule(t *testing.T) {
	var c schedule
	start := time.Unix(1_000_000, 0)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	wants := func(now int, interval, want time.Duration, budgets bool) {
		t.Helper()
		if got := c.wait(at(now), interval, budgets); got != want {
			t.Errorf("after %d s it waits %v, want %v", now, got, want)
		}
	}
	wants(0, 5*time.Minute, 5*time.Minute, false)
	for now := range 299 { // woken every second
		wants(now, 5*time.Minute, 5*time.Minute-time.Duration(now)*time.Second, false)
		if c.arrived(at(now)) {
			t.Fatalf("after %d s it has arrived", now)
		}
	}
	wants(299, 5*time.Minute, time.Second, true)
	if !c.arrived(at(300)) {
		t.Fatal("after the interval it has not arrived")
	}
	wants(300, 5*time.Minute, budgetsEvery, true)
	wants(310, 2*time.Second, 2*time.Second, false) // a reload
	if !c.arrived(at(312)) {
		t.Fatal("a shorter interval has not arrived")
	}
}
