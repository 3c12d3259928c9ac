package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// plants are the faults that the proxy can be built with (proxy/barrier_on.go), with the options under which each must be found.
var plants = []struct {
	name    string
	breaks  string
	nemeses string
	kill    bool // Redis is killed
}{
	{"save-skipped", "an eviction removes what it has not saved", "none", false},
	{"delete-not-durable", "a removal is not committed before Redis sees it", "none", true},
	{"false-nil", "an empty session is reported to be resident", "none", false},
	{"restore-overwrites", "a restore replaces what is in Redis", "none", false},
	{"mark-missing", "writes are not marked", "crash", false},
	{"reply-repeated", "a command whose connection was lost is sent again", "redis-cut", false},
}

func plantNames() (names []string) {
	for _, p := range plants {
		names = append(names, p.name)
	}
	return names
}

// showPlants runs every planted fault and prints when it was found; one that is not found makes the code 1.
func showPlants(ctx context.Context, binary string, opt options, out io.Writer) int {
	code := 0
	for i, p := range plants {
		res, err := findPlant(ctx, binary, opt, i)
		switch {
		case err != nil:
			fmt.Fprintf(out, "%-20s FAILED    %v\n", p.name, err)
			code = 1
		case len(res.violations) == 0:
			fmt.Fprintf(out, "%-20s NOT FOUND in %s (%s)\n", p.name, res.took.Round(time.Second), p.breaks)
			code = 1
		default:
			fmt.Fprintf(out, "%-20s found in round %d, after %s (%s): %d violations, the first: %.100s\n",
				p.name, res.rounds, res.took.Round(time.Second), p.breaks, len(res.violations), firstLine(res.violations[0]))
		}
	}
	return code
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}

// findPlant runs one planted fault under the options in which it must be found.
func findPlant(ctx context.Context, binary string, opt options, i int) (result, error) {
	opt.plant, opt.nemeses, opt.redisKill = plants[i].name, plants[i].nemeses, plants[i].kill
	return soak(ctx, binary, opt)
}
