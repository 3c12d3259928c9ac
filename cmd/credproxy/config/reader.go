package config

import (
	"errors"
	"fmt"
	"math/big"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
)

// reader collects values and problems of one file. It goes on after a problem, so that an operator sees all of them in
// one run instead of one per run.
type reader struct {
	file     string
	line     func(parsed int) int // line in the file of a line as parsed, see splitOneLiners
	ctx      *hcl.EvalContext
	unset    []string // what env() did not find while the current expression was evaluated
	problems Problems
	warnings Problems
}

// newReader knows one function, env. An unset variable is empty, as in a shell, but is remembered: the check that finds the
// setting empty can then name the variable.
func newReader(file string) *reader {
	r := &reader{file: file, line: func(n int) int { return n }}
	env := function.New(&function.Spec{
		Params: []function.Parameter{{Name: "name", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			value, ok := os.LookupEnv(args[0].AsString())
			if !ok {
				r.unset = append(r.unset, args[0].AsString())
			}
			return cty.StringVal(value), nil
		},
	})
	r.ctx = &hcl.EvalContext{Functions: map[string]function.Function{"env": env}}
	return r
}

// report adds a problem at a line of the file as the operator sees it; label is the block, "" at the top.
func (r *reader) report(line int, label, format string, args ...any) {
	text := strings.NewReplacer("\r", " ", "\n", " ").Replace(fmt.Sprintf(format, args...))
	if label != "" {
		text = label + ": " + text
	}
	r.problems = append(r.problems, Problem{File: r.file, Line: line, Text: text})
}

func (r *reader) diagnose(diags hcl.Diagnostics, label string) {
	for _, d := range diags {
		line := 0
		if d.Subject != nil {
			line = r.line(d.Subject.Start.Line)
		}
		r.report(line, label, "%s", oneLine(d))
	}
}

// section is one block, or the file itself, whose names have been checked.
type section struct {
	r     *reader
	label string // how messages call it: `memory`, `keyspace "baileys"`, "" for the file
	at    int    // line in the file
	body  *hclsyntax.Body
	unset map[string][]string // setting -> variables that its value wanted and the environment lacks
}

// open checks that a body has no other settings and blocks than those named.
func (r *reader) open(label string, line int, body *hclsyntax.Body, settings, blocks []string) *section {
	s := &section{r: r, label: label, at: line, body: body, unset: map[string][]string{}}
	for name, attr := range body.Attributes {
		switch {
		case contains(settings, name):
		case contains(blocks, name):
			r.report(r.line(attr.SrcRange.Start.Line), label, "%s is a block: write %s { ... } without \"=\"", name, name)
		default:
			r.report(r.line(attr.SrcRange.Start.Line), label, "unknown name %q: known here are %s", name, known(settings, blocks))
		}
	}
	for _, b := range body.Blocks {
		switch {
		case contains(blocks, b.Type):
		case contains(settings, b.Type):
			r.report(r.line(b.TypeRange.Start.Line), label, "%s is a setting: write %s = ...", b.Type, b.Type)
		default:
			r.report(r.line(b.TypeRange.Start.Line), label, "unknown block %q: known here are %s", b.Type, known(settings, blocks))
		}
	}
	return s
}

func known(settings, blocks []string) string {
	names := append(append([]string(nil), settings...), blocks...)
	sort.Strings(names)
	return strings.Join(names, ", ")
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if n == name {
			return true
		}
	}
	return false
}

// lineOf returns the line of a setting, or of the block when the setting is left to its default.
func (s *section) lineOf(name string) int {
	if attr, ok := s.body.Attributes[name]; ok {
		return s.r.line(attr.SrcRange.Start.Line)
	}
	return s.at
}

func (s *section) report(name, format string, args ...any) {
	s.r.report(s.lineOf(name), s.label, format, args...)
}

// value evaluates a setting and converts it to a type; ok is false when it is absent or wrong (which is reported).
func (s *section) value(name string, want cty.Type, remedy string) (cty.Value, bool) {
	attr, ok := s.body.Attributes[name]
	if !ok {
		return cty.NilVal, false
	}
	s.r.unset = nil
	v, diags := attr.Expr.Value(s.r.ctx)
	s.unset[name] = s.r.unset
	if diags.HasErrors() {
		s.r.diagnose(diags, strings.TrimPrefix(s.label+": "+name, ": "))
		return cty.NilVal, false
	}
	if v.IsNull() {
		s.report(name, "%s is null: give it a value or leave the line out for the default", name)
		return cty.NilVal, false
	}
	v, err := convert.Convert(v, want)
	if err != nil {
		s.report(name, "%s has the wrong type: %s", name, remedy)
		return cty.NilVal, false
	}
	return v, true
}

// text reads a setting that stands for itself.
func (s *section) text(name string, dst *string) {
	if v, ok := s.value(name, cty.String, `write text in "quotes"`); ok {
		*dst = v.AsString()
	}
}

// oneOf reads one of a few words.
func (s *section) oneOf(name string, dst *string, words ...string) {
	var got string
	if s.text(name, &got); got == *dst || s.body.Attributes[name] == nil {
		return
	}
	if !contains(words, got) {
		s.report(name, "%s %q is unknown: write one of %s", name, got, strings.Join(words, ", "))
		return
	}
	*dst = got
}

// number reads a whole number; "80" in quotes is one too, because env gives text.
func (s *section) number(name string, dst *int) {
	v, ok := s.value(name, cty.Number, "write a whole number without quotes")
	if !ok {
		return
	}
	n, accuracy := v.AsBigFloat().Int64()
	if accuracy != big.Exact {
		s.report(name, "%s is not a whole number: write one", name)
		return
	}
	*dst = int(n)
}

// boolean reads true or false; in quotes they are the same, because env gives text.
func (s *section) boolean(name string, dst *bool) {
	if v, ok := s.value(name, cty.Bool, "write true or false"); ok {
		*dst = v.True()
	}
}

// parsed reads a setting as text and hands it to parse.
func parsed[T any](s *section, name string, dst *T, parse func(string) (T, error)) {
	v, ok := s.value(name, cty.String, `write text in "quotes"`)
	if !ok {
		return
	}
	got, err := parse(v.AsString())
	if err != nil {
		s.report(name, "%s %v", name, err)
		return
	}
	*dst = got
}

func (s *section) size(name string, dst *int64)             { parsed(s, name, dst, ParseSize) }
func (s *section) duration(name string, dst *time.Duration) { parsed(s, name, dst, ParseDuration) }

// list reads a list of texts.
func (s *section) list(name string, dst *[]string) {
	v, ok := s.value(name, cty.List(cty.String), `write a list, ["one", "two"]`)
	if !ok {
		return
	}
	out := make([]string, 0, v.LengthInt())
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		if e.IsNull() {
			s.report(name, "%s has a null element: remove it", name)
			return
		}
		out = append(out, e.AsString())
	}
	*dst = out
}

// block returns the only block of a type, nil when there is none; a second one is a problem.
func (s *section) block(name string) *hclsyntax.Block {
	var first *hclsyntax.Block
	for _, b := range s.body.Blocks {
		switch {
		case b.Type != name:
		case first != nil:
			s.r.report(s.r.line(b.TypeRange.Start.Line), s.label, "a second %s block: merge it into the one on line %d",
				name, s.r.line(first.TypeRange.Start.Line))
		default:
			first = b
			if len(b.Labels) > 0 {
				s.r.report(s.r.line(b.TypeRange.Start.Line), s.label, "%s takes no name: write %s { ... }", name, name)
			}
		}
	}
	return first
}

// eachError visits the single errors of a joined one.
func eachError(err error, visit func(error)) {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, e := range joined.Unwrap() {
			visit(e)
		}
		return
	}
	if err != nil {
		visit(err)
	}
}
