// Command soak drives the proxy with many clients while everything around it dies, freezes, refuses and loses connections, and
// checks what the clients saw: every history must be one that a single, never failing Redis could have given.
//
//	go run ./soak --duration 60s --seed 1
//	go run ./soak --duration 30m --each 200
//
// A run is a row of rounds. In a round, clients work on the keys of a hundred sessions, sessions are evicted all the time, and
// nemeses strike: the proxy is killed at named points of its work and anywhere, Postgres is killed and frozen, Redis is frozen,
// full, busy, read-only and loading, and its connections are cut. The seed says what is on offer; of that, what has been rarest
// so far is taken, so that every kind happens about equally often (--each goes on until it has). At the round's end everything
// is healed, every key is read once more, Postgres and Redis are compared, all sessions are evicted and Postgres is compared
// with what was read. Then each key's history is checked for linearizability (porcupine): operations whose outcome nobody knows
// may have happened at any time after their call, or never; refused ones must not have happened. INCRs and RPUSHes are counted
// as well, by plain arithmetic. What the last reading showed is where the next round's histories begin.
//
// With --redis-kill Redis itself is killed, without persistence. Acknowledged writes younger than the sync interval may then be lost
// with sync = "behind", none with "through", and nothing deleted may return in either.
//
// A checker that finds nothing proves something only if it can find what is there: --plants runs it against proxies with
// planted faults.
package main
