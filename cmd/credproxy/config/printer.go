package config

import (
	"fmt"
	"strconv"
	"strings"
)

// printer writes settings in the layout that `hcl fmt` gives them: the equal signs of a run of settings stand in one
// column, so a run is held back until a block or the end closes it.
type printer struct {
	out    []byte
	indent string
	names  []string
	values []string
}

func (p *printer) set(name, value string) {
	p.names = append(p.names, name)
	p.values = append(p.values, value)
}

func (p *printer) text(name, value string) { p.set(name, quote(value)) }

func (p *printer) number(name string, n int) { p.set(name, strconv.Itoa(n)) }

func (p *printer) boolean(name string, v bool) { p.set(name, strconv.FormatBool(v)) }

func (p *printer) list(name string, values []string) {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = quote(v)
	}
	p.set(name, "["+strings.Join(quoted, ", ")+"]")
}

// block writes a block whose settings body adds.
func (p *printer) block(head string, body func()) {
	p.flush()
	p.out = fmt.Appendf(p.out, "\n%s%s {\n", p.indent, head)
	p.indent += "  "
	body()
	p.flush()
	p.indent = p.indent[2:]
	p.out = fmt.Appendf(p.out, "%s}\n", p.indent)
}

func (p *printer) flush() {
	width := 0
	for _, n := range p.names {
		width = max(width, len(n))
	}
	for i, n := range p.names {
		p.out = fmt.Appendf(p.out, "%s%-*s = %s\n", p.indent, width, n, p.values[i])
	}
	p.names, p.values = nil, nil
}

// quote writes an HCL string: "${" and "%{" would start a template, other control characters have no short escape.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r < ' ':
			fmt.Fprintf(&b, `\u%04x`, r)
		case (r == '$' || r == '%') && strings.HasPrefix(s[i+1:], "{"):
			b.WriteRune(r)
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
