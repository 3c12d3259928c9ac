package resp

import (
	"math"
	"testing"
)

func TestAppend(t *testing.T) {
	both := func(f func(b []byte, proto int) []byte) [2]string {
		return [2]string{string(f([]byte("x"), 2)), string(f([]byte("x"), 3))}
	}
	same := func(s string) [2]string { return [2]string{s, s} }
	cases := map[string]struct{ got, want [2]string }{
		"array":         {both(func(b []byte, _ int) []byte { return AppendArray(b, 3) }), same("x*3\r\n")},
		"map":           {both(func(b []byte, p int) []byte { return AppendMap(b, p, 3) }), [2]string{"x*6\r\n", "x%3\r\n"}},
		"set":           {both(func(b []byte, p int) []byte { return AppendSet(b, p, 3) }), [2]string{"x*3\r\n", "x~3\r\n"}},
		"push":          {both(func(b []byte, p int) []byte { return AppendPush(b, p, 3) }), [2]string{"x*3\r\n", "x>3\r\n"}},
		"bulk":          {both(func(b []byte, _ int) []byte { return AppendBulk(b, []byte("a\r\n")) }), same("x$3\r\na\r\n\r\n")},
		"bulk string":   {both(func(b []byte, _ int) []byte { return AppendBulkString(b, "") }), same("x$0\r\n\r\n")},
		"simple":        {both(func(b []byte, _ int) []byte { return AppendSimple(b, "a\r\nb") }), same("x+a  b\r\n")},
		"error":         {both(func(b []byte, _ int) []byte { return AppendError(b, "ERR a\nb") }), same("x-ERR a b\r\n")},
		"int":           {both(func(b []byte, _ int) []byte { return AppendInt(b, math.MinInt64) }), same("x:-9223372036854775808\r\n")},
		"true":          {both(func(b []byte, p int) []byte { return AppendBool(b, p, true) }), [2]string{"x:1\r\n", "x#t\r\n"}},
		"false":         {both(func(b []byte, p int) []byte { return AppendBool(b, p, false) }), [2]string{"x:0\r\n", "x#f\r\n"}},
		"null":          {both(AppendNull), [2]string{"x$-1\r\n", "x_\r\n"}},
		"null array":    {both(AppendNullArray), [2]string{"x*-1\r\n", "x_\r\n"}},
		"verbatim":      {both(func(b []byte, p int) []byte { return AppendVerbatim(b, p, "txt", "ab") }), [2]string{"x$2\r\nab\r\n", "x=6\r\ntxt:ab\r\n"}},
		"double":        {both(func(b []byte, p int) []byte { return AppendDouble(b, p, 0.1) }), [2]string{"x$3\r\n0.1\r\n", "x,0.1\r\n"}},
		"infinity":      {both(func(b []byte, p int) []byte { return AppendDouble(b, p, math.Inf(1)) }), [2]string{"x$3\r\ninf\r\n", "x,inf\r\n"}},
		"minus inf":     {both(func(b []byte, p int) []byte { return AppendDouble(b, p, math.Inf(-1)) }), [2]string{"x$4\r\n-inf\r\n", "x,-inf\r\n"}},
		"not a number":  {both(func(b []byte, p int) []byte { return AppendDouble(b, p, math.NaN()) }), [2]string{"x$3\r\nnan\r\n", "x,nan\r\n"}},
		"command":       {both(func(b []byte, _ int) []byte { return AppendCommand(b, "GET", "a") }), same("x*2\r\n$3\r\nGET\r\n$1\r\na\r\n")},
		"command bytes": {both(func(b []byte, _ int) []byte { return AppendCommandBytes(b, [][]byte{{0}}) }), same("x*1\r\n$1\r\n\x00\r\n")},
	}
	for name, tc := range cases {
		if tc.got != tc.want {
			t.Errorf("%s: %q, want %q", name, tc.got, tc.want)
		}
		for _, got := range tc.got {
			var f Framer
			if n, _, err := f.Next([]byte(got[1:])); n != len(got)-1 || err != nil {
				t.Errorf("%s: %q is framed to %d, %v", name, got, n, err)
			}
		}
	}
}
