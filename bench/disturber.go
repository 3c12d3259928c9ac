package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// disturber is what somebody else does while clients are measured.
type disturber struct {
	name    string // "": nobody else is there
	clients int
	// onlySaving: it makes sense only for a target that has somewhere to evict to.
	onlySaving bool
	// turn returns the commands of one turn of a client, and how many. There are two versions, made once and sent by turns, so that
	// what is written is never what is there already.
	turn func(client int, version uint64) (requests []byte, commands int)
}

// Sizes of what disturbs: the largest value that bots have, and the longest pipeline.
const (
	largeValue    = 1_300_000
	chunkCommands = 300
	writerClients = 8
	churnSessions = 20
)

// besideRate is how many commands per second the measured clients send beside a disturbance, if --rate says nothing else: so
// few that the processors have room, as clients that take all of them would only show how they are shared.
const (
	besideRate    = 5_000
	besideClients = 50
)

var quietly = disturber{}

// largeDisturbers hold up others by what they send or fetch at once.
var largeDisturbers = []disturber{
	quietly,
	{name: "one client GETs 1.3 MB", clients: 1, turn: func(int, uint64) ([]byte, int) {
		return command(nil, "GET", credsKey("large", 0)), 1
	}},
	{name: "one client SETs 1.3 MB", clients: 1, turn: func(_ int, version uint64) ([]byte, int) {
		return command(nil, "SET", credsKey("large", 0), string(randomBytes(version, largeValue))), 1
	}},
	{name: "one client sends 300 commands at once", clients: 1, turn: chunk},
}

// saveDisturbers keep the saver, or the evictor and the restores, as busy as they can be.
var saveDisturbers = []disturber{
	quietly,
	{name: "8 clients write at full rate", clients: writerClients, turn: write},
	{name: "sessions are evicted and restored", clients: 1, onlySaving: true, turn: churn},
}

// write changes records of a bot, some at once.
func write(client int, version uint64) ([]byte, int) {
	const records = 10
	var b []byte
	for i := range records {
		b = command(b, "HSET", keysKey("writer", client), "session-"+strconv.Itoa(i), string(randomBytes(version, botRecord)))
	}
	return b, records
}

// chunk is a first upload: pre-keys written and read in one go.
func chunk(_ int, version uint64) ([]byte, int) {
	var b []byte
	for i := range chunkCommands / 2 {
		field := "pre-key-" + strconv.Itoa(i)
		b = command(b, "HSET", keysKey("chunk", 0), field, string(randomBytes(version, botPreKey)))
		b = command(b, "HGET", keysKey("chunk", 0), field)
	}
	return b, chunkCommands
}

// churn evicts sessions and touches them again. Each was written by an earlier turn, the first excepted.
func churn(_ int, version uint64) ([]byte, int) {
	evict := []string{"CREDPROXY", "EVICT"}
	var touches []byte
	for id := range churnSessions {
		evict = append(evict, "bench/"+sessionName("churn", id))
		touches = command(touches, "HSET", keysKey("churn", id), "session-1", string(randomBytes(version, botRecord)))
	}
	return append(touches, command(nil, evict...)...), churnSessions + 1
}

// setUp writes what a disturber fetches.
func (d disturber) setUp(ctx context.Context, t *target) error {
	if d.name == "" {
		return nil
	}
	return t.command(ctx, "write a large value", "SET", credsKey("large", 0), string(randomBytes(9, largeValue)))
}

// start connects a disturber's clients, which go on until the returned function is called. That returns how many turns all of them have
// made in a second. The first error goes to give.
func (d disturber) start(ctx context.Context, t *target, give context.CancelCauseFunc) (func() float64, error) {
	conns, err := dialMany(ctx, t, d.clients, time.Now().Add(maxDuration))
	hangUp := func() {
		for _, c := range conns {
			c.Close()
		}
	}
	if err != nil {
		hangUp()
		return nil, err
	}
	done := make(chan struct{})
	var all sync.WaitGroup
	var turns atomic.Int64
	begun := time.Now()
	for i, c := range conns {
		all.Go(func() {
			if err := d.repeat(c, i, done, &turns); err != nil {
				give(fmt.Errorf("while %s: %w", d.name, err))
			}
		})
	}
	stop := context.AfterFunc(ctx, hangUp)
	return func() float64 {
		close(done)
		all.Wait()
		stop()
		hangUp()
		return float64(turns.Load()) / time.Since(begun).Seconds()
	}, nil
}

// repeat is the life of one client: it takes one turn after another, without a pause.
func (d disturber) repeat(c *conn, client int, done <-chan struct{}, turns *atomic.Int64) error {
	var requests [2][]byte
	var commands int
	for version := range requests {
		requests[version], commands = d.turn(client, uint64(version))
	}
	for n := 0; ; n++ {
		select {
		case <-done:
			return nil
		default:
		}
		if err := c.do(requests[n%len(requests)], commands); err != nil {
			return err
		}
		turns.Add(1)
	}
}
