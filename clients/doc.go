// Package clients runs real client libraries against the real program: go-redis in this process, the others in node/ and
// python/ as the processes that they are in production. It holds tests only.
//
// A script drives one library through a program's day and prints what the library gave it. It runs on a plain Redis first,
// which says what is right, and then through the proxy in every mode of modes: all must print the same, and when the script
// has logged everybody out, neither Redis nor Postgres may hold anything of it.
//
// What a script needs and does not find (Node, a package, the network to fetch it) skips its test and says so; with CI in
// the environment it fails, but for a Node that is too old for a library.
package clients
