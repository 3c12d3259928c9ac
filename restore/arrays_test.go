package restore

import (
	"bytes"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// What our encoding makes of arrays is what the driver's makes, byte for byte, and Postgres has the same back.
func TestArraysAreEncodedAsTheDriverDoes(t *testing.T) {
	s := openStore(t, Config{})
	ours := pgtype.NewMap()
	bytea, _ := ours.TypeForOID(pgtype.ByteaOID)
	codec := byteaArrays{&pgtype.ArrayCodec{ElementType: bytea}}
	ours.RegisterType(&pgtype.Type{Name: "_bytea", OID: pgtype.ByteaArrayOID, Codec: codec})
	for _, elements := range [][][]byte{
		nil, {}, {{}}, {nil}, {[]byte("a"), nil, {}, bytes.Repeat([]byte{0xff, 0}, 5000)},
	} {
		for _, before := range [][]byte{nil, []byte("before"), make([]byte, 3, 1<<20)} {
			got, err := ours.Encode(pgtype.ByteaArrayOID, pgtype.BinaryFormatCode, elements, slices.Clone(before))
			want, err2 := pgtype.NewMap().Encode(pgtype.ByteaArrayOID, pgtype.BinaryFormatCode, elements, slices.Clone(before))
			if err != nil || err2 != nil || !bytes.Equal(got, want) || (got == nil) != (want == nil) {
				t.Errorf("%q behind %d bytes: %q, %v; the driver: %q, %v", elements, len(before), got, err, want, err2)
			}
		}
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe} {
			var back [][]byte
			if err := s.pool.QueryRow(testContext(t), "SELECT $1::bytea[]", mode, elements).Scan(&back); err != nil {
				t.Fatal(err)
			}
			if !slices.EqualFunc(back, elements, func(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }) {
				t.Errorf("%q comes back as %q", elements, back)
			}
		}
	}
}

// Pooled connections use it: else a megabyte of values allocates several.
func TestConnectionsKnowTheArrays(t *testing.T) {
	eachMode(t, func(t *testing.T, s *Store) {
		conn, err := s.pool.Acquire(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		known, _ := conn.Conn().TypeMap().TypeForOID(pgtype.ByteaArrayOID)
		if _, ok := known.Codec.(byteaArrays); !ok {
			t.Errorf("arrays are encoded by %T", known.Codec)
		}
	})
}
