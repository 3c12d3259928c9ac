package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
)

// loadNames are the values of --loads.
var loadNames = []string{"get", "mix", "bots"}

// load makes the commands of one kind of client. Its functions append to b, and are safe for many goroutines that have
// an rng each.
type load struct {
	name string
	// seed appends the commands that make session number id, and returns how many.
	seed func(b []byte, id int) ([]byte, int)
	// next appends one random command, and returns the first byte of the reply that it must get.
	next func(b []byte, rng *rand.Rand) ([]byte, byte)
}

// newLoad makes a load by its name.
func newLoad(name string, opts options) load {
	switch name {
	case "get":
		return stringLoad(name, 100, opts)
	case "mix":
		return stringLoad(name, 80, opts)
	default:
		return botLoad(opts)
	}
}

// randomBytes makes n bytes that do not compress; the same for the same seed.
func randomBytes(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, seed))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// credsKey and keysKey are the keys of a session, as wa-auth-store names them. The load's name keeps loads apart.
func credsKey(load string, id int) string { return fmt.Sprintf("wa:auth:%s-%06d:creds", load, id) }
func keysKey(load string, id int) string  { return fmt.Sprintf("wa:auth:%s-%06d:keys", load, id) }

// stringLoad reads and writes one string for each session; readPercent of the commands are GET, the rest SET.
func stringLoad(name string, readPercent int, opts options) load {
	keys := make([]string, opts.sessions)
	for i := range keys {
		keys[i] = credsKey(name, i)
	}
	value := string(randomBytes(1, opts.size))
	return load{
		name: name,
		seed: func(b []byte, id int) ([]byte, int) { return command(b, "SET", keys[id], value), 1 },
		next: func(b []byte, rng *rand.Rand) ([]byte, byte) {
			key := keys[rng.IntN(len(keys))]
			if rng.IntN(100) < readPercent {
				return command(b, "GET", key), '$'
			}
			return command(b, "SET", key, value), '+'
		},
	}
}

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
// pre-key that was used is deleted.
type bots struct {
	creds, keys             []string
	peers, strangers        []string // names of fields
	preKeys                 []string
	credsValue, recordValue string
	preKeyValue             string
}

func botLoad(opts options) load {
	w := &bots{
		credsValue:  string(randomBytes(2, botCreds)),
		recordValue: string(randomBytes(3, botRecord)),
		preKeyValue: string(randomBytes(4, botPreKey)),
	}
	for id := range opts.sessions {
		w.creds = append(w.creds, credsKey("bots", id))
		w.keys = append(w.keys, keysKey("bots", id))
	}
	for i := range botPeers {
		w.peers = append(w.peers, fmt.Sprintf("session-55119%08d.0", i))
		w.strangers = append(w.strangers, fmt.Sprintf("session-4479%08d.0", i))
	}
	for i := range botPreKeys {
		w.preKeys = append(w.preKeys, "pre-key-"+strconv.Itoa(i))
	}
	return load{name: "bots", seed: w.seed, next: w.next}
}

func (w *bots) seed(b []byte, id int) ([]byte, int) {
	fields := []string{"HSET", w.keys[id]}
	for _, name := range w.peers {
		fields = append(fields, name, w.recordValue)
	}
	for _, name := range w.preKeys {
		fields = append(fields, name, w.preKeyValue)
	}
	return command(command(b, "SET", w.creds[id], w.credsValue), fields...), 2
}

func (w *bots) next(b []byte, rng *rand.Rand) ([]byte, byte) {
	id, dice := rng.IntN(len(w.keys)), rng.IntN(100)
	peer := rng.IntN(botPeers)
	switch {
	case dice < 45:
		name := w.peers[peer]
		if rng.IntN(100) < botMissRate {
			name = w.strangers[peer]
		}
		return command(b, "HMGET", w.keys[id], name), '*'
	case dice < 55:
		return command(b, "GET", w.creds[id]), '$'
	case dice < 90:
		return command(b, "HSET", w.keys[id], w.peers[peer], w.recordValue), ':'
	case dice < 95:
		return command(b, "SET", w.creds[id], w.credsValue), '+'
	case dice < 98:
		first := rng.IntN(botPreKeys - botNewKeys)
		fields := append(make([]string, 0, 2+2*botNewKeys), "HSET", w.keys[id])
		for _, name := range w.preKeys[first : first+botNewKeys] {
			fields = append(fields, name, w.preKeyValue)
		}
		return command(b, fields...), ':'
	default:
		return command(b, "HDEL", w.keys[id], w.preKeys[rng.IntN(botPreKeys)]), ':'
	}
}

// command appends a command as RESP.
func command(b []byte, args ...string) []byte {
	b = slices.Grow(b, 32)
	b = strconv.AppendInt(append(b, '*'), int64(len(args)), 10)
	b = append(b, '\r', '\n')
	for _, arg := range args {
		b = strconv.AppendInt(append(b, '$'), int64(len(arg)), 10)
		b = append(b, '\r', '\n')
		b = append(b, arg...)
		b = append(b, '\r', '\n')
	}
	return b
}
