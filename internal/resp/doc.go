// Package resp is the Redis wire protocol as the proxy needs it: a guard between untrusted clients and redcon's parser
// (Listener, Conn), a framer for the replies of an upstream (Framer), builders (Append...) and a small decoder (Parse).
//
// The guard exists because redcon's parser must never see bytes that it cannot take. A Conn reads the client's bytes,
// judges them by the rules of Redis 7 (networking.c: processInlineBuffer, processMultibulkBuffer; sds.c: sdssplitargs) and
// hands over nothing but complete commands in canonical form. Its invariants:
//
//  1. What Read returns is a sequence of "*N\r\n$len\r\n<bytes>\r\n..." commands, N > 0. A command's first byte is returned
//     only after its last byte has arrived, and a Read ends inside a command only when that command alone is larger than
//     the reader's buffer. (Blank lines may appear between commands, see trim.go.)
//  2. What is returned depends on the bytes, never on how they were cut into packets.
//  3. Memory follows the bytes that arrived (at most twice as much, beyond a first 16 KB that an idle client gives back),
//     never a length that a header announces.
//  4. Work is linear in the bytes that arrived: every byte is looked at a bounded number of times.
//  5. Commands before a bad frame are handed over, and so answered, before the client sees the error.
package resp
