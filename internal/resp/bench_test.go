package resp

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// source is a client that never stops; each Read is one packet.
type source struct {
	wire
	packet []byte
}

func (s *source) Read(p []byte) (int, error) { return copy(p, s.packet), nil }

// BenchmarkGuard: ns/op is for one SET of 256 bytes; depth is how many of them a packet holds.
func BenchmarkGuard(b *testing.B) {
	for _, depth := range []int{1, 16} {
		b.Run(fmt.Sprint("depth", depth), func(b *testing.B) {
			set := bulks("SET", "wa:auth:5511988887777:creds", strings.Repeat("v", 256))
			c := NewConn(&source{packet: []byte(strings.Repeat(set, depth))}, DefaultLimits())
			c.SetAuthenticated(true)
			p := make([]byte, 16<<10)
			b.ReportAllocs()
			for n := 0; n < b.N*len(set); {
				m, err := c.Read(p)
				if err != nil {
					b.Fatal(err)
				}
				n += m
			}
		})
	}
}

// BenchmarkScan is the part of the guard that depends on the command's form.
func BenchmarkScan(b *testing.B) {
	lim := DefaultLimits()
	set := []byte(bulks("SET", "wa:auth:5511988887777:creds", strings.Repeat("v", 256)))
	var s scanner
	for range b.N {
		if _, v := s.next(set, &lim, true); v != command {
			b.Fatal(v)
		}
	}
}

// BenchmarkSocket compares a read of a socket with and without the guard, on a client that waits for each answer.
func BenchmarkSocket(b *testing.B) {
	for _, guard := range []bool{false, true} {
		b.Run(fmt.Sprint("guard=", guard), func(b *testing.B) {
			c, client := pair(b)
			set := []byte(bulks("SET", "wa:auth:5511988887777:creds", strings.Repeat("v", 256)))
			read := c.Read
			if !guard {
				read = c.nc.Read
			}
			p := make([]byte, 4096)
			b.ReportAllocs()
			for range b.N {
				if _, err := client.Write(set); err != nil {
					b.Fatal(err)
				}
				if _, err := read(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOneByteBulk(b *testing.B) {
	in := bulks("SET", "k", strings.Repeat("v", 1<<20))
	p := make([]byte, 1<<16)
	for range b.N {
		c := NewConn(&wire{in: []byte(in), packet: 1}, DefaultLimits())
		c.SetAuthenticated(true)
		for {
			if _, err := c.Read(p); err == io.EOF {
				break
			}
		}
	}
	b.SetBytes(int64(len(in)))
}

func BenchmarkFramer(b *testing.B) {
	for name, reply := range map[string]string{
		"ok":   "+OK\r\n",
		"int":  ":1\r\n",
		"bulk": "$256\r\n" + strings.Repeat("v", 256) + "\r\n",
		"null": "_\r\n",
		"hash": "%10\r\n" + strings.Repeat("$2\r\nab\r\n$20\r\n01234567890123456789\r\n", 10),
	} {
		b.Run(name, func(b *testing.B) {
			in := []byte(strings.Repeat(reply, 16))
			var f Framer
			b.ReportAllocs()
			rest := in
			for range b.N {
				n, done, err := f.Next(rest)
				if !done || err != nil {
					b.Fatal(n, err)
				}
				if rest = rest[n:]; len(rest) == 0 {
					rest = in
				}
			}
		})
	}
}
