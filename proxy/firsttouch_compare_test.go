package proxy_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"credproxy/internal/resp"
)

// dialProto connects and says HELLO 3 if proto is 3.
func dialProto(t testing.TB, addr string, proto int) *wire {
	t.Helper()
	w := dialWire(t, addr)
	if proto == 3 {
		w.wantPrefix("%", "HELLO", "3")
	}
	return w
}

// writeAll sends commands in one piece.
func (w *wire) writeAll(commands [][]string) {
	w.t.Helper()
	var b []byte
	for _, args := range commands {
		b = resp.AppendCommand(b, args...)
	}
	w.write(string(b))
}

// next is reply for large replies and many of them.
func (w *wire) next() string {
	w.t.Helper()
	must(w.t, w.nc.SetReadDeadline(time.Now().Add(wirePatience)))
	reply, err := w.whole()
	if err != nil {
		w.t.Fatalf("read a reply, %d bytes of it are here: %v", len(reply), err)
	}
	return reply
}

// whole reads one reply; it looks at what has arrived as a whole.
func (w *wire) whole() (string, error) {
	var framer resp.Framer
	var out []byte
	for {
		if _, err := w.in.Peek(1); err != nil {
			return string(out), err
		}
		b, err := w.in.Peek(w.in.Buffered())
		if err != nil {
			return string(out), err
		}
		n, done, err := framer.Next(b)
		if err != nil {
			return string(out), err
		}
		out = append(out, b[:n]...)
		if _, err := w.in.Discard(n); err != nil || done {
			return string(out), err
		}
	}
}

// values sends commands in one write and decodes the replies, none of which may be an error.
func (w *wire) values(commands [][]string) []resp.Value {
	w.t.Helper()
	w.writeAll(commands)
	out := make([]resp.Value, len(commands))
	for i := range out {
		if out[i] = parseReply(w.t, w.next()); out[i].Kind == '-' {
			w.t.Fatalf("%q: %s", commands[i], out[i].Str)
		}
	}
	return out
}

// value asks and decodes the reply, which must not be an error.
func (w *wire) value(args ...string) resp.Value {
	w.t.Helper()
	return w.values([][]string{args})[0]
}

var wordPattern = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|\S+`)

// wordsOf splits a line into arguments; "quoted ones" are Go strings.
func wordsOf(line string) []string {
	args := wordPattern.FindAllString(line, -1)
	for i, a := range args {
		if text, err := strconv.Unquote(a); err == nil && a[0] == '"' {
			args[i] = text
		}
	}
	return args
}

// dual sends the same commands to a bare Redis and to the proxy and compares the replies.
type dual struct {
	t             testing.TB
	bare, proxied *wire
	queued        [][]string // between MULTI and EXEC
}

// run sends commands in one write, or one by one, and returns what is wrong with the proxy's first wrong reply, "" if nothing.
func (d *dual) run(commands [][]string, oneWrite bool) string {
	d.t.Helper()
	if !oneWrite {
		for i := range commands {
			if diff := d.run(commands[i:i+1], true); diff != "" {
				return diff
			}
		}
		return ""
	}
	d.bare.writeAll(commands)
	d.proxied.writeAll(commands)
	first := ""
	for _, args := range commands {
		bare, proxied := d.bare.next(), d.proxied.next()
		if first == "" && !d.sameReply(args, bare, proxied) {
			first = fmt.Sprintf("%s\n    redis: %s\n    proxy: %s", clip(strings.Join(args, " ")), clip(bare), clip(proxied))
		}
		d.follow(args, bare)
	}
	return first
}

// follow keeps track of what is queued, so that EXEC's replies can be told apart.
func (d *dual) follow(args []string, reply string) {
	switch strings.ToUpper(args[0]) {
	case "MULTI":
		if reply == "+OK\r\n" {
			d.queued = nil
		}
	case "EXEC", "DISCARD":
		if resp.ErrorCode([]byte(reply)) != "ERR" {
			d.queued = nil
		}
	default:
		if reply == "+QUEUED\r\n" {
			d.queued = append(d.queued, args)
		}
	}
}

func (d *dual) sameReply(args []string, a, b string) bool {
	if a == b {
		return true
	}
	va, vb := parseReply(d.t, a), parseReply(d.t, b)
	if strings.EqualFold(args[0], "EXEC") && len(va.Elems) == len(d.queued) && len(vb.Elems) == len(d.queued) {
		for i := range d.queued {
			if !sameValue(d.queued[i], va.Elems[i], vb.Elems[i]) {
				d.t.Logf("the reply to %q differs in EXEC\n    redis: %s\n    proxy: %s", d.queued[i], clip(textOf(va.Elems[i], 0)), clip(textOf(vb.Elems[i], 0)))
				return false
			}
		}
		return va.Kind == vb.Kind
	}
	return sameValue(args, va, vb)
}

// clip keeps a failure's text readable.
func clip(s string) string {
	if len(s) > 600 {
		return fmt.Sprintf("%q... (%d bytes)", s[:600], len(s))
	}
	return strconv.Quote(s)
}

// unordered are the commands whose elements come in no order, with how many elements belong together.
var unordered = map[string]int{
	"HGETALL": 2, "HKEYS": 1, "HVALS": 1, "SMEMBERS": 1, "SUNION": 1, "SINTER": 1, "SDIFF": 1, "KEYS": 1, "SPOP": 1, "SRANDMEMBER": 1,
	"HRANDFIELD": 1, "ZRANDMEMBER": 1, "SCAN": 1, "HSCAN": 2, "SSCAN": 1, "ZSCAN": 2,
}

// sameValue compares two replies to the same command, asked at about the same time.
func sameValue(args []string, a, b resp.Value) bool {
	if textOf(a, 0) == textOf(b, 0) {
		return true
	}
	const slack = 5000 // milliseconds between the two servers' doing the same
	name := strings.ToUpper(args[0])
	if a.Kind == ':' && b.Kind == ':' {
		switch name {
		case "TTL", "OBJECT": // of OBJECT only IDLETIME can differ
			return a.Int >= 0 && b.Int >= 0 && near(a.Int, b.Int, slack/1000)
		case "PTTL":
			return a.Int >= 0 && b.Int >= 0 && near(a.Int, b.Int, slack)
		case "PEXPIRETIME":
			return sameExpiry(a.Int, b.Int)
		case "EXPIRETIME":
			return sameExpiry(a.Int*1000, b.Int*1000)
		case "MEMORY":
			return a.Int > 0 && b.Int > 0
		}
	}
	step := unordered[name]
	if name == "ZSCAN" {
		a, b = plainScores(a), plainScores(b)
	}
	if strings.HasSuffix(name, "SCAN") {
		return len(a.Elems) == 2 && len(b.Elems) == 2 && textOf(a.Elems[0], 0) == textOf(b.Elems[0], 0) &&
			textOf(a.Elems[1], step) == textOf(b.Elems[1], step)
	}
	return textOf(a, step) == textOf(b, step)
}

// plainScores writes the scores of ZSCAN's reply in one form. Redis has two, by the encoding of the sorted set: one that was once
// large keeps the encoding for large ones, and when it is restored it is a new key.
func plainScores(v resp.Value) resp.Value {
	if len(v.Elems) != 2 {
		return v
	}
	pairs := slices.Clone(v.Elems[1].Elems)
	for i := 1; i < len(pairs); i += 2 {
		if score, err := strconv.ParseFloat(string(pairs[i].Str), 64); err == nil {
			pairs[i].Str = strconv.AppendFloat(nil, score, 'g', -1, 64)
		}
	}
	v.Elems = slices.Clone(v.Elems)
	v.Elems[1].Elems = pairs
	return v
}

func near(a, b, slack int64) bool { return max(a-b, b-a) <= slack }

// farAway is an absolute expiry, in unix milliseconds, that tests use: the year 2100. A relative one never comes near it.
const farAway = 4102444800000

// sameExpiry compares two PEXPIRETIMEs: relative ones were not set at quite the same time, others are equal.
func sameExpiry(a, b int64) bool {
	return a == b || (a > 0 && b > 0 && a < farAway/2 && near(a, b, 5000))
}

// textOf is a value in an unambiguous form, its elements sorted in groups of step if that is not 0.
func textOf(v resp.Value, step int) string {
	parts := make([]string, len(v.Elems))
	for i := range v.Elems {
		parts[i] = textOf(v.Elems[i], 0)
	}
	if step > 0 && len(parts)%step == 0 {
		var groups []string
		for g := range slices.Chunk(parts, step) {
			groups = append(groups, strings.Join(g, "="))
		}
		slices.Sort(groups)
		parts = groups
	}
	return fmt.Sprintf("%c%v%d,%d:%s[%s]", v.Kind, v.Null, v.Int, len(v.Str), v.Str, strings.Join(parts, " "))
}
