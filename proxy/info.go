package proxy

import (
	"bytes"
	"fmt"
	"strings"

	"credproxy/internal/resp"
	"credproxy/keyspace"
)

// cmdInfo is Redis's INFO with a section of the proxy's own; INFO credproxy is that section alone.
func (c *client) cmdInfo(_ *keyspace.Command, args [][]byte, raw []byte) {
	sections, own := infoSections(args[1:])
	if own && len(sections) == 0 && len(args) > 1 {
		if !c.permitted("INFO", raw) {
			return
		}
		c.emit(resp.AppendVerbatim(nil, c.ident.Proto, "txt", c.s.infoText()))
		return
	}
	if len(sections) < len(args)-1 {
		raw = command(append([]string{"INFO"}, sections...)...)
	}
	reply, err := c.roundTrip(raw)
	if err != nil {
		c.emit(errorReply(nil, textUnavailable(err)))
		return
	}
	if !own || resp.IsError(reply) {
		c.emit(reply)
		return
	}
	v, _, err := resp.Parse(reply)
	if err != nil {
		c.emit(reply)
		return
	}
	text := string(bytes.TrimPrefix(v.Str, []byte("txt:")))
	if text != "" {
		text = strings.TrimRight(text, "\r\n") + "\r\n\r\n"
	}
	c.emit(resp.AppendVerbatim(nil, c.ident.Proto, "txt", text+c.s.infoText()))
}

// infoSections takes the proxy's section out of the list, and says whether it is wanted.
func infoSections(args [][]byte) (sections []string, own bool) {
	own = len(args) == 0
	for _, a := range args {
		switch name := strings.ToLower(string(a)); name {
		case "credproxy":
			own = true
		case "all", "everything", "default":
			own = true
			sections = append(sections, name)
		default:
			sections = append(sections, string(a))
		}
	}
	return sections, own
}

func (s *Server) infoText() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Credproxy\r\ncredproxy_version:%s\r\n", s.cfg.Version)
	st := s.Stats()
	for name, value := range st.Values() {
		if f, ok := value.(float64); ok {
			fmt.Fprintf(&b, "credproxy_%s:%.1f\r\n", name, f)
			continue
		}
		fmt.Fprintf(&b, "credproxy_%s:%v\r\n", name, value)
	}
	return b.String()
}
