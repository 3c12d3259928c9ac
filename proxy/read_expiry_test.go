package proxy

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/session"
	"credproxy/internal/testenv"
)

// betweenReads runs something between the two round trips of a reading.
type betweenReads struct {
	*redis.Client
	trips int
	write func()
}

func (b *betweenReads) Pipelined(ctx context.Context, fn func(redis.Pipeliner) error) ([]redis.Cmder, error) {
	if b.trips++; b.trips == 2 {
		b.write()
	}
	return b.Client.Pipelined(ctx, fn)
}

// A key is written while it is read: its new value must not get an expiry that is later than its own.
func TestValueDoesNotOutliveItsExpiry(t *testing.T) {
	ctx := context.Background()
	cl := redis.NewClient(&redis.Options{Addr: testenv.Redis(t).Addr()})
	defer cl.Close()
	const soon, late = 4_000_000_000_000, 5_000_000_000_000 // unix milliseconds
	for _, tc := range []struct {
		name          string
		before, write []any
		patch         []string
		value         string
		want          int64
		gone          bool
	}{
		{"none before", []any{"SET", "k", "old"}, []any{"SET", "k", "new", "PXAT", soon}, nil, "new", soon, false},
		{"a later one before", []any{"SET", "k", "old", "PXAT", late}, []any{"SET", "k", "new", "PXAT", soon}, nil, "new", soon, false},
		{"an earlier one before", []any{"SET", "k", "old", "PXAT", soon}, []any{"SET", "k", "new", "PXAT", late}, nil, "new", soon, false},
		{"none after", []any{"SET", "k", "old", "PXAT", soon}, []any{"SET", "k", "new"}, nil, "new", soon, false},
		{"unchanged", []any{"SET", "k", "old", "PXAT", soon}, []any{"PING"}, nil, "old", soon, false},
		{"no expiry at all", []any{"SET", "k", "old"}, []any{"SET", "k", "new"}, nil, "new", 0, false},
		{"a hash", []any{"HSET", "k", "f", "old"}, []any{"PEXPIREAT", "k", soon}, nil, "old", soon, false},
		{"fields of a hash", []any{"HSET", "k", "f", "old", "g", "1"}, []any{"PEXPIREAT", "k", soon}, []string{"f"}, "old", soon, false},
		{"gone", []any{"HSET", "k", "f", "old"}, []any{"DEL", "k"}, []string{"f"}, "", 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			do := func(args []any) {
				if err := cl.Do(ctx, args...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			do([]any{"DEL", "k"})
			do(tc.before)
			rd := &betweenReads{Client: cl, write: func() { do(tc.write) }}
			out, err := readKeys(ctx, rd, []wanted{{key: "k", patch: tc.patch != nil, fields: tc.patch}}, false)
			if err != nil {
				t.Fatal(err)
			}
			c := out[0].change
			if gone := c.Op == session.Delete; gone != tc.gone {
				t.Fatalf("removal %v, want %v", gone, tc.gone)
			}
			value := string(c.Value)
			if len(c.Fields) > 0 {
				value = string(c.Fields[0].Value)
			}
			if !tc.gone && (value != tc.value || c.ExpireAt != tc.want) {
				t.Errorf("value %q that expires at %d, want %q and %d", value, c.ExpireAt, tc.value, tc.want)
			}
		})
	}
}
