package restore

import (
	"context"
	"encoding/binary"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// byteaArrays encodes [][]byte as bytea[], which is how nearly all that is saved goes to Postgres. The driver's own way asks by
// reflection for each element how to encode it, and its buffer, which begins small, is copied a dozen times on the way to a megabyte.
type byteaArrays struct{ *pgtype.ArrayCodec }

// teachArrays makes a connection use it.
func teachArrays(_ context.Context, conn *pgx.Conn) error {
	types := conn.TypeMap()
	bytea, known := types.TypeForOID(pgtype.ByteaOID)
	if known {
		codec := byteaArrays{&pgtype.ArrayCodec{ElementType: bytea}}
		types.RegisterType(&pgtype.Type{Name: "_bytea", OID: pgtype.ByteaArrayOID, Codec: codec})
	}
	return nil
}

// PlanEncode is asked once for each type of value.
func (c byteaArrays) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.([][]byte); ok && format == pgtype.BinaryFormatCode {
		return byteaPlan{}
	}
	return c.ArrayCodec.PlanEncode(m, oid, format, value)
}

type byteaPlan struct{}

// Encode appends value: dimensions, whether there are nulls, the elements' type, their number, the first index, and the elements.
func (byteaPlan) Encode(value any, buf []byte) ([]byte, error) {
	elements := value.([][]byte)
	if elements == nil {
		return nil, nil
	}
	size, nulls := 20, uint32(0)
	for _, e := range elements {
		if size += 4 + len(e); e == nil {
			nulls = 1
		}
	}
	if cap(buf)-len(buf) < size {
		buf = append(make([]byte, 0, len(buf)+size), buf...)
	}
	buf = appendInts(buf, 1, nulls, pgtype.ByteaOID, uint32(len(elements)), 1)
	for _, e := range elements {
		if e == nil {
			buf = appendInts(buf, 1<<32-1)
			continue
		}
		buf = append(appendInts(buf, uint32(len(e))), e...)
	}
	return buf, nil
}

func appendInts(buf []byte, ints ...uint32) []byte {
	for _, n := range ints {
		buf = binary.BigEndian.AppendUint32(buf, n)
	}
	return buf
}
