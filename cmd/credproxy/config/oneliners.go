package config

import (
	"sort"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// splitOneLiners lets a block hold several settings on one line, as in
//
//	log { level = "info"  format = "text" }
//
// which HCL's own grammar refuses although there is one way only to read it. A line break is put in where a setting
// follows on the same line as another, and around the braces of such a block. The second result maps a line of the
// new text to the line of src that it came from.
func splitOneLiners(src []byte) ([]byte, func(int) int) {
	breaks := lineBreaks(src)
	if len(breaks) == 0 {
		return src, func(n int) int { return n }
	}
	var out []byte
	var added []int // lines of the new text that begin at a break, ascending
	line, from := 1, 0
	for _, at := range breaks {
		for _, b := range src[from:at] {
			if b == '\n' {
				line++
			}
		}
		line++
		out = append(append(out, src[from:at]...), '\n')
		added = append(added, line)
		from = at
	}
	out = append(out, src[from:]...)
	return out, func(n int) int { return n - sort.SearchInts(added, n+1) }
}

// lineBreaks returns the byte offsets, ascending, at which a line break makes the text what its author meant.
func lineBreaks(src []byte) []int {
	tokens, _ := hclsyntax.LexConfig(src, "", hcl.InitialPos)
	var breaks []int
	var open []openBrace
	for i, t := range tokens {
		switch t.Type {
		case hclsyntax.TokenOBrace:
			open = append(open, openBrace{after: t.Range.End.Byte, line: t.Range.Start.Line, block: opensBlock(tokens, i)})
		case hclsyntax.TokenCBrace:
			if len(open) > 0 {
				breaks = open[len(open)-1].close(breaks, t.Range.Start.Byte)
				open = open[:len(open)-1]
			}
		case hclsyntax.TokenIdent:
			if len(open) > 0 && open[len(open)-1].block && followsOnLine(tokens, i) {
				open[len(open)-1].split = true
				breaks = append(breaks, t.Range.Start.Byte)
			}
		}
	}
	sort.Ints(breaks)
	return breaks
}

type openBrace struct {
	after int // offset behind the brace
	line  int
	block bool // a block's, not an object's
	split bool // some setting in it was moved to a line of its own
}

// close adds the breaks around a block whose first settings share the line with its braces.
func (b openBrace) close(breaks []int, at int) []int {
	if b.split {
		breaks = append(breaks, b.after, at)
	}
	return breaks
}

// opensBlock tells a block's brace (behind its type or label) from an object's (behind =, a comma, a bracket).
func opensBlock(tokens hclsyntax.Tokens, i int) bool {
	return i > 0 && (tokens[i-1].Type == hclsyntax.TokenIdent || tokens[i-1].Type == hclsyntax.TokenCQuote)
}

// followsOnLine reports whether token i begins a setting (name =) or a block behind another setting on the same line.
func followsOnLine(tokens hclsyntax.Tokens, i int) bool {
	if i == 0 || i+1 >= len(tokens) {
		return false
	}
	next := tokens[i+1].Type
	if next != hclsyntax.TokenEqual && next != hclsyntax.TokenOBrace {
		return false
	}
	switch tokens[i-1].Type {
	case hclsyntax.TokenNewline, hclsyntax.TokenComment, hclsyntax.TokenOBrace:
		return false
	}
	return true
}
