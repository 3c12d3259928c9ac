package proxy

import (
	"time"
)

// Wrong passwords are paid for by the address that they come from: the first few cost nothing, more of them have to wait before they
// are looked at, whichever connection they come on, and so do right ones from there. The wait is bounded, so that a guesser locks
// nobody out who shares the address with him.
const (
	guessCost      = 100 * time.Millisecond // ten guesses a second in the long run
	guessAllowance = 1 * time.Second        // ten at once
	longestGuess   = 2 * time.Second        // the longest wait
)

// mayGuess waits until the client may try a password. What it returns has to be told whether that one was right.
func (c *client) mayGuess() (over func(right bool)) {
	peer := c.conn.RemoteAddr()
	wait := c.s.guesses.Turn(peer, guessCost)
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.ctx.Done():
		}
	}
	return func(right bool) {
		switch {
		case wait == 0 && !right:
			c.s.guesses.Charge(peer, guessCost)
		case wait > 0 && right: // it was charged in advance
			c.s.guesses.Charge(peer, -guessCost)
		}
	}
}
