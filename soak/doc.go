// Command soak drives the proxy with many clients while everything around it dies, freezes, refuses and loses connections, and
// checks what the clients saw: every history must be one that a single, never failing Redis could have given.
//
//	go run ./soak --duration 60s --seed 1
//
// A run is a row of rounds. In a round, clients work on the keys of a few hundred sessions, sessions are evicted all the time, and
// nemeses strike, chosen by the seed. At its end everything is healed, every key is read once more, Postgres and Redis are
// compared, all sessions are evicted and Postgres is compared with what was read. Then each key's history is checked for
// linearizability (porcupine): operations whose outcome nobody knows may have happened at any time after their call, or
// never; refused ones must not have happened. What the last reading showed is where the next round's histories begin.
//
// With --redis-kill Redis itself is killed, without persistence. Acknowledged writes younger than the sync interval may then be lost
// with sync = "behind", none with "through", and nothing deleted may return in either.
//
// A checker that finds nothing proves something only if it can find what is there: --plants runs it against proxies with
// planted faults.
package main
