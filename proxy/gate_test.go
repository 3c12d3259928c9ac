package proxy

import (
	"strings"
	"testing"
)

// Every interleaving of two clients, the evictor, the saver and the loads that they cause, on one session.
func TestSessionStateMachine(t *testing.T) {
	type build func(w *world) []*actor
	for name, actors := range map[string]build{
		"two writers":           func(w *world) []*actor { return []*actor{w.writer("A", "v1"), w.writer("B", "v2")} },
		"writer and reader":     func(w *world) []*actor { return []*actor{w.writer("A", "v1"), w.reader("B")} },
		"writer and remover":    func(w *world) []*actor { return []*actor{w.writer("A", "v1"), w.remover("B")} },
		"two removers":          func(w *world) []*actor { return []*actor{w.remover("A"), w.remover("B")} },
		"unlinker and writer":   func(w *world) []*actor { return []*actor{w.unlinker("A"), w.writer("B", "v1")} },
		"unlinker and reader":   func(w *world) []*actor { return []*actor{w.unlinker("A"), w.reader("B")} },
		"unlinker and remover":  func(w *world) []*actor { return []*actor{w.unlinker("A"), w.remover("B")} },
		"two unlinkers":         func(w *world) []*actor { return []*actor{w.unlinker("A"), w.unlinker("B")} },
		"remover and reader":    func(w *world) []*actor { return []*actor{w.remover("A"), w.reader("B")} },
		"two readers":           func(w *world) []*actor { return []*actor{w.reader("A"), w.reader("B")} },
		"writer, twice evicted": func(w *world) []*actor { return []*actor{w.writer("A", "v1"), w.evictor(false)} },
	} {
		for _, start := range []state{resident, evicted} {
			for fail, passes := range map[string]int{"": 1, "marks stay": 2, "save fails": 2, "evict fails": 1} {
				if fail != "" && (name != "writer and remover" || start != resident) {
					continue // the richest pair is enough for those
				}
				t.Run(strings.Join([]string{name, start.String(), fail}, "/"), func(t *testing.T) {
					s := newServer(t)
					explore(t, func() *world {
						w := newWorld(s, start)
						w.actors = append(actors(w), w.evictor(fail == "evict fails"), w.saver(passes, fail == "save fails"))
						return w
					})
				})
			}
		}
	}
}

// explore walks every interleaving: it repeats the steps that lead to a state, and then takes each of the next ones.
func explore(t *testing.T, begin func() *world) {
	seen := map[string]bool{}
	ends := 0
	paths := [][]int{nil}
	for len(paths) > 0 {
		path := paths[len(paths)-1]
		paths = paths[:len(paths)-1]
		w := begin()
		for _, i := range path {
			if a := w.actors[i]; a.steps[a.pc].run() {
				a.pc++
			}
		}
		w.check() // the states on the way here were checked when they were reached
		if len(w.problems) > 0 {
			t.Fatalf("%s\nafter %s", strings.Join(w.problems, "\n"), w.story(path))
		}
		if mark := w.fingerprint(); seen[mark] {
			continue
		} else {
			seen[mark] = true
		}
		before := len(paths)
		finished := true
		for i, a := range w.actors {
			finished = finished && a.pc == len(a.steps)
			if a.enabled() {
				paths = append(paths, append(path[:len(path):len(path)], i))
			}
		}
		if len(paths) > before {
			continue
		}
		if ends++; !finished {
			t.Fatalf("nobody can go on after %s", w.story(path))
		}
		if w.end(); len(w.problems) > 0 {
			t.Fatalf("%s\nat the end of %s", strings.Join(w.problems, "\n"), w.story(path))
		}
	}
	if ends == 0 || len(seen) < 50 {
		t.Fatalf("only %d states and %d ends were reached", len(seen), ends)
	}
}

// story names the actors in the order of their steps.
func (w *world) story(path []int) string {
	var names []string
	for _, i := range path {
		names = append(names, w.actors[i].name)
	}
	return strings.Join(names, " ")
}
