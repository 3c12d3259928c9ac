// Package handover carries what one process of the program gives its successor: messages, bytes, and open sockets. It knows nothing
// of what they mean.
//
// The two ends are a pair of Unix sockets without a name: nobody else can get at what goes through, which includes passwords of
// clients.
package handover
