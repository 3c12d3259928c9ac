package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
)

// load makes the commands of one kind of client. Its functions append to b, and are safe for many goroutines that have
// an rng each.
type load struct {
	name string
	size int // bytes of a value, 0: of many sizes
	// seed appends the commands that make session number id, and returns how many.
	seed func(b []byte, id int) ([]byte, int)
	// next appends one random command, and says in want which reply it must get.
	next func(b []byte, rng *rand.Rand, want *expect) []byte
	// template is the same command for redis-benchmark, nil: it cannot be had there.
	template []string
	// session names session number id as the proxy does.
	session func(id int) string
	// What is done before a round, to targets that can: see scenario.go.
	budget float64 // the share of the sessions that fits into the memory of a limited target, 0: all
	cold   float64 // the share of the sessions that begin a round evicted
	// kept: the cold sessions that wake are evicted again soon; nil: they stay.
	kept *sleepers
	// besides are disturbances; with each of them, and with none, the load is measured. nil: never.
	besides []disturber
}

// String names a load in tables.
func (l load) String() string { return loadTitle(l.name, l.size) }

func loadTitle(name string, size int) string {
	switch {
	case size == 0:
		return name
	case size >= 1024 && size%1024 == 0:
		return fmt.Sprintf("%s %d KB", name, size/1024)
	default:
		return fmt.Sprintf("%s %d B", name, size)
	}
}

// loadsOf makes the loads of that name: those of strings come in every size.
func loadsOf(name string, opts options) []load {
	reads, strings := map[string]int{"get": 100, "mix": 80, "set": 0}[name]
	if !strings {
		return []load{scenarioLoad(name, opts)}
	}
	var all []load
	for _, size := range opts.sizes {
		all = append(all, stringLoad(name, reads, size, opts.sessions))
	}
	return all
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

// sessionName names a session. The load's name keeps loads apart; twelve digits are what redis-benchmark makes.
func sessionName(load string, id int) string { return fmt.Sprintf("%s-%012d", load, id) }

// credsKey and keysKey are the keys of a session, as wa-auth-store names them.
func credsKey(load string, id int) string { return "wa:auth:" + sessionName(load, id) + ":creds" }
func keysKey(load string, id int) string  { return "wa:auth:" + sessionName(load, id) + ":keys" }

// okReply is Redis's answer to SET.
var okReply = expect{head: []byte("+OK\r\n"), kind: '+'}

// stored is a string under a key of some session: the commands on it, and what GET must return. The value begins with the
// session's number, so that a reply that belongs to another client is not taken for the right one.
type stored struct {
	get, set []byte // commands; what of set is the same for all is missing
	value    expect
}

func newStored(key string, id, size int, common []byte) stored {
	mark := fmt.Sprintf("%0*d", min(12, size), id)
	mark = mark[max(0, len(mark)-size):]
	head := []byte(fmt.Sprintf("$%d\r\n%s", size, mark))
	set := command(nil, "SET", key, "")
	return stored{
		get:   command(nil, "GET", key),
		set:   append(set[:len(set)-len("$0\r\n\r\n")], head...),
		value: expect{head: head, tail: common[len(mark):], kind: '$', loose: size >= len(mark)+varied},
	}
}

func (s *stored) read(b []byte, want *expect) []byte {
	*want = s.value
	return append(b, s.get...)
}

func (s *stored) write(b []byte, want *expect) []byte {
	*want = okReply
	return append(append(b, s.set...), s.value.tail...)
}

// rewrite is write with a value that is not there yet.
func (s *stored) rewrite(b []byte, rng *rand.Rand, want *expect) []byte {
	if b = s.write(b, want); s.value.loose {
		vary(b, rng)
	}
	return b
}

// commonPart is what the values of a size share: all of it behind the session's number.
func commonPart(seed uint64, size int) []byte { return append(randomBytes(seed, size), '\r', '\n') }

// stringLoad reads and writes one string for each session; readPercent of the commands are GET, the rest SET.
func stringLoad(name string, readPercent, size, sessions int) load {
	own := name + strconv.Itoa(size)
	common := commonPart(1, size)
	values := make([]stored, sessions)
	for id := range values {
		values[id] = newStored(credsKey(own, id), id, size, common)
	}
	l := load{
		name: name, size: size,
		seed:    func(b []byte, id int) ([]byte, int) { return values[id].write(b, new(expect)), 1 },
		session: func(id int) string { return "bench/" + sessionName(own, id) },
		next: func(b []byte, rng *rand.Rand, want *expect) []byte {
			v := &values[rng.IntN(len(values))]
			if readPercent == 100 || readPercent > 0 && rng.IntN(100) < readPercent {
				return v.read(b, want)
			}
			return v.rewrite(b, rng, want)
		},
	}
	key := "wa:auth:" + own + "-__rand_int__:creds"
	switch readPercent {
	case 100:
		l.template = []string{"GET", key}
	case 0:
		// A program's argument holds text; which bytes they are makes no difference. It begins with a number of its own each time.
		value := fmt.Sprintf("%0*d", size, 7)
		if number := "__rand_int__"; size >= len(number) {
			value = number + value[len(number):]
		}
		l.template = []string{"SET", key, value}
	}
	return l
}

// command appends a command as RESP.
func command(b []byte, args ...string) []byte {
	b = slices.Grow(b, 32)
	b = strconv.AppendInt(append(b, '*'), int64(len(args)), 10)
	b = append(b, '\r', '\n')
	for _, arg := range args {
		b = appendBulk(b, arg)
	}
	return b
}

func appendBulk(b []byte, arg string) []byte {
	b = strconv.AppendInt(append(b, '$'), int64(len(arg)), 10)
	b = append(b, '\r', '\n')
	b = append(b, arg...)
	return append(b, '\r', '\n')
}
