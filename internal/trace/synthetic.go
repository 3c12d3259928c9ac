package trace

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Synthetic traces are about this many sessions and uses. Sizes are log-normal around 8 KB, as credentials with their keys are:
// most are small, a few have grown for years.
const (
	synthSessions = 10_000
	synthAccesses = 1_000_000
	synthMedian   = 8 << 10
	synthStep     = 180 // milliseconds between two uses: each session is used every half an hour on average
)

// synthStart is when synthetic traces begin; any time would do.
var synthStart = time.Date(2025, 1, 6, 0, 0, 0, 0, time.UTC).UnixMilli()

// Synthetic makes a trace of a kind: "zipf:0.99" (a few sessions are used most), "loop" (all in turn, over and over), "daily"
// (each is used in its own eight hours of the day, a fifth all day), "boot" (zipf:0.99, and now and then the fleet starts and
// reads every session once). The same kind is always the same trace.
func Synthetic(kind string, f func(Event)) error {
	g := &generator{rng: rand.New(rand.NewPCG(2024, 7)), at: synthStart, emit: f}
	g.sizes()
	name, parameter, _ := strings.Cut(kind, ":")
	switch {
	case name == "zipf":
		s, err := strconv.ParseFloat(parameter, 64)
		if err != nil || s <= 0 || s > 10 {
			return fmt.Errorf("zipf wants an exponent above 0 and up to 10, as in zipf:0.99, not %q", parameter)
		}
		g.zipf(s, 0)
	case kind == "loop":
		for n := range synthAccesses {
			g.use(n % synthSessions)
		}
	case kind == "daily":
		g.daily()
	case kind == "boot":
		g.zipf(0.99, synthAccesses/8)
	default:
		return fmt.Errorf("synthetic trace %q is unknown: write zipf:0.99 (or another exponent), loop, daily or boot", kind)
	}
	return nil
}

type generator struct {
	rng   *rand.Rand
	at    int64
	bytes []int64
	emit  func(Event)
}

func (g *generator) sizes() {
	g.bytes = make([]int64, synthSessions)
	for i := range g.bytes {
		g.bytes[i] = int64(synthMedian * math.Exp(g.rng.NormFloat64()))
	}
}

func (g *generator) use(id int) {
	g.at += synthStep
	g.emit(Event{At: g.at, Session: uint64(id), Bytes: g.bytes[id]})
}

// zipf draws sessions by their rank; every so many uses (0: never) the fleet starts.
func (g *generator) zipf(s float64, boot int) {
	sums := make([]float64, synthSessions)
	sum := 0.0
	for i := range sums {
		sum += math.Pow(float64(i+1), -s)
		sums[i] = sum
	}
	for n := range synthAccesses {
		g.use(min(sort.SearchFloat64s(sums, g.rng.Float64()*sum), synthSessions-1))
		if boot > 0 && n%boot == boot-1 {
			for id := range synthSessions {
				g.use(id)
			}
		}
	}
}

// daily draws among the sessions that are awake: a bot's users live in one time zone.
func (g *generator) daily() {
	const day, awake = 24 * 60, 8 * 60 // minutes
	begins := make([]int, synthSessions)
	for i := range begins {
		begins[i] = g.rng.IntN(day)
	}
	for range synthAccesses {
		minute := int((g.at - synthStart) / 60_000 % day)
		for {
			id := g.rng.IntN(synthSessions)
			if id%5 == 0 || (minute-begins[id]+day)%day < awake {
				g.use(id)
				break
			}
		}
	}
}
