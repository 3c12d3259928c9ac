package admin

import "credproxy/proxy"

// slowJSON is a command of the slow log as the dashboard gets it.
type slowJSON struct {
	ID      int64            `json:"id"`
	At      int64            `json:"at"` // unix milliseconds
	TookUS  int64            `json:"took_us"`
	Session string           `json:"session"`
	Command string           `json:"command"`
	Part    string           `json:"part"` // what most of the time went to
	Parts   map[string]int64 `json:"parts_us"`
	Failed  bool             `json:"failed"`
}

func describeSlow(waits []proxy.SlowWait) []slowJSON {
	list := make([]slowJSON, len(waits))
	for i := range waits {
		w := &waits[i]
		parts := map[string]int64{}
		for p, d := range w.Parts {
			if d > 0 {
				parts[proxy.WaitPart(p).String()] = d.Microseconds()
			}
		}
		list[i] = slowJSON{w.ID, w.At.UnixMilli(), w.Took.Microseconds(), w.Session, w.Command, w.Part().String(), parts, w.Failed}
	}
	return list
}
