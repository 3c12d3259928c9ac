package main

import (
	"strconv"
	"strings"

	"github.com/anishathalye/porcupine"
)

// The models are sequential specifications: what a partition may answer in which state. Input is the *op, Output is not used.

// slack is by how many milliseconds a deadline may be missed: clocks are read before and after, and Redis caches its own.
const slack = 100

// lease is the state of a key with a TTL. Its deadline is known to lie between lo and hi, in unix milliseconds.
type lease struct {
	val    int64 // 0: there is no key
	lo, hi int64
	ttl    int64 // the longest that a write whose time is not known could have set
}

func (l lease) mayLive(callMs int64) bool { return l.val != 0 && callMs <= l.hi+slack }

func (l lease) mayBeGone(retMs int64) bool { return l.val == 0 || retMs >= l.lo-slack }

// modelOf returns the specification of a partition that begins in the given state.
func modelOf(part string, begin any, c clock) porcupine.Model {
	m := porcupine.Model{Init: func() any { return begin }}
	switch kindOf(part) {
	case kindCounter:
		m.Step = stepCounter
	case kindList:
		m.Step = stepList
	case kindLease:
		m.Step = func(state, in, _ any) (bool, any) { return stepLease(c, state.(lease), in.(*op)) }
	default:
		m.Step = stepRegister
	}
	return m
}

// blank is the state of a partition that has never been written.
func blank(part string) any {
	switch kindOf(part) {
	case kindList:
		return ""
	case kindLease:
		return lease{}
	}
	return int64(0)
}

func claim(had bool) int64 {
	if had {
		return 1
	}
	return 0
}

func stepRegister(state, in, _ any) (bool, any) {
	val, o := state.(int64), in.(*op)
	free := o.fate == unknown || o.out == noClaim
	switch o.verb {
	case vSet: // out: 1 if a field was new
		return free || o.out == claim(val == 0), o.arg
	case vGet:
		return o.out == val, val
	case vDel:
		return free || o.out == claim(val != 0), int64(0)
	case vGetDel:
		return free || o.out == val, int64(0)
	}
	return false, val
}

func stepCounter(state, in, _ any) (bool, any) {
	n, o := state.(int64), in.(*op)
	switch o.verb {
	case vIncr:
		return o.fate == unknown || o.out == n+1, n + 1
	case vGet:
		return o.out == n, n
	}
	return false, n
}

func stepList(state, in, _ any) (bool, any) {
	list, o := state.(string), in.(*op)
	switch o.verb {
	case vPush:
		next := list + strconv.FormatInt(o.arg, 10) + ","
		return o.fate == unknown || o.out == int64(strings.Count(next, ",")), next
	case vRange:
		return o.list == list, list
	case vDel:
		return o.fate == unknown || o.out == claim(list != ""), ""
	}
	return false, list
}

func stepLease(c clock, l lease, o *op) (bool, any) {
	call, ret := c.milli(o.call), c.milli(o.ret)
	switch o.verb {
	case vSetPX:
		return true, lease{val: o.arg, lo: call + o.ttl, hi: ret + o.ttl, ttl: o.ttl}
	case vGet:
		if o.out == 0 {
			return l.mayBeGone(ret), lease{}
		}
		ok := o.out == l.val && l.mayLive(call)
		l.hi = min(l.hi, ret+l.ttl) // it was written before it was seen
		return ok, l
	case vDel:
		ok := o.fate == unknown || (o.out == 1 && l.mayLive(call)) || (o.out == 0 && l.mayBeGone(ret))
		return ok, lease{}
	case vExpireAt:
		if o.out == -2 {
			return l.mayBeGone(ret), lease{}
		}
		ok := l.mayLive(call) && o.out >= l.lo-slack && o.out <= l.hi+slack
		l.lo, l.hi = o.out, o.out
		return ok, l
	case vExpire:
		return stepExpire(l, o, call, ret)
	}
	return false, l
}

func stepExpire(l lease, o *op, call, ret int64) (bool, any) {
	next := lease{val: l.val, lo: call + o.ttl, hi: ret + o.ttl, ttl: o.ttl}
	switch {
	case o.fate == unknown && l.val != 0: // it may have come too late and done nothing
		next.lo, next.hi, next.ttl = min(l.lo, next.lo), max(l.hi, next.hi), max(l.ttl, next.ttl)
		return true, next
	case o.fate == unknown:
		return true, lease{}
	case o.out == 1:
		return l.mayLive(call), next
	}
	return l.mayBeGone(ret), lease{}
}
