// Package upstream holds the data connections to Redis: shared ones, on which the commands of many clients travel in one
// write and the replies come back in order, and private ones for clients whose connection has state of its own.
//
// Rules
//
//  1. A reply reaches the call whose request stands at the same place in the stream, or nobody. A connection with any doubt
//     (I/O error, framing error, a reply that no call waits for) is closed and every call on it fails.
//  2. A request is written at most once. What is known of a call that failed is that its outcome is unknown; it is never
//     sent again here.
//  3. Every connection knows the run of Redis that it is connected to (Run). A TCP connection cannot outlive the process at
//     its other end, so what was true of a run when a command was admitted is still true when the command executes, or
//     the connection breaks.
package upstream
