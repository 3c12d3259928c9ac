package bots

import (
	"math"
	"math/bits"
	"strconv"
)

// kind is a sort of record that a bot keeps.
type kind uint8

const (
	creds kind = iota
	preKey
	signalSession
	senderKey
	appState
	tcToken
	deviceList
	kinds // how many there are
)

// kindTable holds the sizes measured on real traffic. Most values are near the small end and a few are huge: skew is
// the exponent that bends a uniform number that way.
var kindTable = [kinds]struct {
	name     string
	min, max float64 // bytes
	skew     float64
	count    int // how many different ones a bot comes to have
}{
	creds:         {"creds", 1100, 2400, 1, 1},
	preKey:        {"pre-key", 164, 164, 1, 0}, // count is Config.PreKeys
	signalSession: {"session", 900, 37_000, 3, 40},
	senderKey:     {"sender-key", 600, 89_000, 3, 12},
	appState:      {"app-state-sync-version", 200, 1_300_000, 5, 2},
	tcToken:       {"tctoken", 86, 86, 1, 30},
	deviceList:    {"device-list", 9, 9, 1, 40},
}

// item names one record of one bot.
type item struct {
	kind kind
	n    int
}

func (it item) name() string {
	if it.kind == creds {
		return "creds"
	}
	return kindTable[it.kind].name + "-" + strconv.Itoa(it.n)
}

// mix is splitmix64's output function: neighbouring inputs give unrelated outputs.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// appendValue appends the bytes of an item's version to dst. Values are binary: every byte value occurs, as it does in
// stores that encrypt.
func appendValue(dst []byte, seed uint64, bot int, it item, version uint32) []byte {
	state := mix(seed ^ mix(uint64(bot)<<32|uint64(it.kind)<<24|uint64(it.n)) ^ uint64(version)<<40)
	n := valueSize(it.kind, state)
	for ; n >= 8; n -= 8 {
		state = mix(state)
		dst = append(dst, byte(state), byte(state>>8), byte(state>>16), byte(state>>24),
			byte(state>>32), byte(state>>40), byte(state>>48), byte(state>>56))
	}
	state = mix(state)
	for ; n > 0; n-- {
		dst = append(dst, byte(state))
		state = bits.RotateLeft64(state, -8)
	}
	return dst
}

func valueSize(k kind, state uint64) int {
	t := &kindTable[k]
	u := float64(mix(state)>>11) / (1 << 53)
	return int(t.min * math.Pow(t.max/t.min, math.Pow(u, t.skew)))
}
