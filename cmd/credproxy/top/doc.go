// Package top is `credproxy top`: a live view of a running proxy on the whole terminal.
//
// Model is what is known and what the user does, Update changes it, View draws it into a frame: all three are pure. Run owns
// the terminal and the goroutines: one asks the proxy again and again, one carries out what the user orders, so that a slow
// eviction does not stop the picture. Everything shown comes from CREDPROXY STATS, SESSIONS and SESSION.
package top
