package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
)

// What a bot's session holds, and the sizes in it: the middle of what real ones have.
const (
	botCreds    = 1800 // bytes
	botPeers    = 20   // session records
	botRecord   = 1500 // bytes
	botPreKeys  = 100
	botPreKey   = 164 // bytes
	botNewKeys  = 10  // pre-keys written by one HSET
	botMissRate = 10  // percent of the reads that ask for a record that is not there
)

// bots is the load of WhatsApp bots at work: records are read and written back for every message, creds now and then, and a
// pre-key that was used is deleted. In the shape of hashes a session is a string and a hash, in that of strings each record is
// a key. A value is the same in all sessions, but for the creds, which name theirs.
type bots struct {
	own       string // keeps the keys of loads apart
	strings   bool
	creds     []stored
	pick      func(rng *rand.Rand) int // chooses a session
	peers     []string                 // names of records
	strangers []string                 // of records that do not exist
	preKeys   []string
	record    string
	preKey    string
	// What a read of a record must return.
	found, missing expect
}

func newBots(name string, asStrings bool, sessions int, pick func(*rand.Rand) int) *bots {
	w := &bots{
		own: name, strings: asStrings, pick: pick,
		record: string(randomBytes(3, botRecord)), preKey: string(randomBytes(4, botPreKey)),
	}
	common := commonPart(2, botCreds)
	for id := range sessions {
		key := credsKey(name, id)
		if asStrings {
			key = w.key(id, "creds")
		}
		w.creds = append(w.creds, newStored(key, id, botCreds, common))
	}
	for i := range botPeers {
		w.peers = append(w.peers, fmt.Sprintf("session-55119%08d.0", i))
		w.strangers = append(w.strangers, fmt.Sprintf("session-4479%08d.0", i))
	}
	for i := range botPreKeys {
		w.preKeys = append(w.preKeys, "pre-key-"+strconv.Itoa(i))
	}
	w.found = expect{head: appendBulk(nil, w.record), kind: '$', loose: true}
	w.missing = expect{head: []byte("$-1\r\n"), kind: '$'}
	if !asStrings {
		for _, e := range []*expect{&w.found, &w.missing} {
			e.head, e.kind = append([]byte("*1\r\n"), e.head...), '*'
		}
	}
	return w
}

func (w *bots) load(name string) load {
	keyspace := "bench/"
	if w.strings {
		keyspace = "strings/"
	}
	return load{name: name, seed: w.seed, next: w.next, session: func(id int) string { return keyspace + sessionName(w.own, id) }}
}

// key is where a record of a session is, in the shape of strings.
func (w *bots) key(id int, name string) string {
	return "bot:" + sessionName(w.own, id) + ":" + name
}

func (w *bots) seed(b []byte, id int) ([]byte, int) {
	b = w.creds[id].write(b, new(expect))
	if w.strings {
		for _, name := range w.peers {
			b = command(b, "SET", w.key(id, name), w.record)
		}
		for _, name := range w.preKeys {
			b = command(b, "SET", w.key(id, name), w.preKey)
		}
		return b, 1 + len(w.peers) + len(w.preKeys)
	}
	fields := []string{"HSET", keysKey(w.own, id)}
	for _, name := range w.peers {
		fields = append(fields, name, w.record)
	}
	for _, name := range w.preKeys {
		fields = append(fields, name, w.preKey)
	}
	return command(b, fields...), 2
}

func (w *bots) next(b []byte, rng *rand.Rand, want *expect) []byte {
	id, dice, peer := w.pick(rng), rng.IntN(100), rng.IntN(botPeers)
	switch {
	case dice < 45:
		name := w.peers[peer]
		*want = w.found
		if rng.IntN(100) < botMissRate {
			name, *want = w.strangers[peer], w.missing
		}
		if w.strings {
			return command(b, "GET", w.key(id, name))
		}
		return command(b, "HMGET", keysKey(w.own, id), name)
	case dice < 55:
		return w.creds[id].read(b, want)
	case dice < 90:
		b = w.write(b, id, w.peers[peer:peer+1], w.record, want)
		vary(b, rng)
		return b
	case dice < 95:
		return w.creds[id].rewrite(b, rng, want)
	case dice < 98:
		first := rng.IntN(botPreKeys - botNewKeys)
		b = w.write(b, id, w.preKeys[first:first+botNewKeys], w.preKey, want)
		vary(b, rng) // the last of them
		return b
	}
	name := w.preKeys[rng.IntN(botPreKeys)]
	*want = expect{kind: ':'}
	if w.strings {
		return command(b, "DEL", w.key(id, name))
	}
	return command(b, "HDEL", keysKey(w.own, id), name)
}

// write appends the command that writes records of one value.
func (w *bots) write(b []byte, id int, names []string, value string, want *expect) []byte {
	args := make([]string, 0, 2+2*botNewKeys)
	if w.strings {
		*want = okReply
		if len(names) == 1 {
			return command(b, "SET", w.key(id, names[0]), value)
		}
		args = append(args, "MSET")
	} else {
		*want = expect{kind: ':'}
		args = append(args, "HSET", keysKey(w.own, id))
	}
	for _, name := range names {
		if w.strings {
			name = w.key(id, name)
		}
		args = append(args, name, value)
	}
	return command(b, args...)
}
