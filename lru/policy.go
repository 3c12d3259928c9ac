package lru

import (
	"errors"
	"fmt"
)

// Budget is the memory policy as plain numbers: above Threshold percent of Max sessions have to go, until less than Target
// percent is used. Its methods are pure and safe to share.
type Budget struct {
	Max       int64 // bytes, above 0
	Threshold int   // percent of Max, 1 to 100
	Target    int   // percent of Max, 1 to Threshold-1
}

// Validate says what is wrong with b, in the words of the configuration.
func (b Budget) Validate() error {
	switch {
	case b.Max <= 0:
		return errors.New("memory.max must be above 0 bytes")
	case b.Threshold < 1 || b.Threshold > 100:
		return fmt.Errorf("memory.threshold is %d, must be from 1 to 100 percent", b.Threshold)
	case b.Target < 1:
		return fmt.Errorf("memory.target is %d, must be at least 1 percent", b.Target)
	case b.Target >= b.Threshold:
		return fmt.Errorf("memory.target is %d, must be below memory.threshold, which is %d", b.Target, b.Threshold)
	}
	return nil
}

// Over says whether used bytes are above the threshold.
func (b Budget) Over(used int64) bool { return used > b.percent(b.Threshold) }

// Excess returns how many bytes to free so that less than the target is used; 0 when used is not over the threshold.
func (b Budget) Excess(used int64) int64 {
	if !b.Over(used) {
		return 0
	}
	keep := b.percent(b.Target)
	// "Less than the target" is stricter than "at most" only where the target is a whole number of bytes.
	if b.Max%100*int64(b.Target)%100 == 0 {
		keep--
	}
	return used - keep
}

// NextSample says whether memory should be measured before its time: used bytes at the last sample and written bytes since
// then could have crossed the threshold. To rewrite the same keys just under the threshold, or with nothing left to evict
// above it, must not mean one sample for each write, so at least 1/1024 of Max has to be written first.
func (b Budget) NextSample(used, written int64) bool {
	room := b.percent(b.Threshold) - used
	return written > 0 && written > max(room, b.Max/1024)
}

// percent returns p percent of Max, rounded down, without overflow.
func (b Budget) percent(p int) int64 {
	return b.Max/100*int64(p) + b.Max%100*int64(p)/100
}

// Needed returns how many more bytes have to be used, with used bytes now, before a session goes that has ahead bytes of sessions
// before it: memory fills up to the threshold, comes down to the target, and fills again.
func (b Budget) Needed(used, ahead int64) int64 {
	high, low := b.percent(b.Threshold), b.percent(b.Target)
	step := high - low + 1
	if used <= high {
		return high + 1 - used + ahead/step*step
	}
	if ahead < used-low {
		return 0
	}
	return step + (ahead-(used-low))/step*step
}
