package proxy

import (
	"strconv"
	"strings"

	"credproxy/internal/resp"
)

// defaultSlow is how many entries SLOWLOG GET shows without a number, as in Redis.
const defaultSlow = 10

// adminSlowLog is CREDPROXY SLOWLOG; without an argument it is GET.
func (c *client) adminSlowLog(args []string) {
	sub := "GET"
	if len(args) > 0 {
		sub = strings.ToUpper(args[0])
	}
	switch {
	case sub == "GET":
		c.slowLogGet(args)
	case len(args) > 1:
		c.emit(errorReply(nil, textSyntax))
	case sub == "LEN":
		c.emit(resp.AppendInt(nil, int64(c.s.slow.length())))
	case sub == "RESET" && !c.mayAdminister():
		c.emit(errorReply(nil, textNotAdmin("SLOWLOG RESET")))
	case sub == "RESET":
		c.s.slow.reset()
		c.emit(replyOK)
	default:
		c.emit(errorReply(nil, textSyntax))
	}
}

func (c *client) slowLogGet(args []string) {
	n := defaultSlow
	if len(args) > 1 {
		var err error
		if n, err = strconv.Atoi(args[1]); err != nil || n < -1 {
			c.emit(errorReply(nil, textNotInteger))
			return
		}
	}
	list := c.s.slow.newest(n)
	b := resp.AppendArray(nil, len(list))
	for i := range list {
		b = appendPairs(b, c.ident.Proto, list[i].pairs())
	}
	c.emit(b)
}
