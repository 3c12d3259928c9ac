// Package bots simulates the clients that credproxy serves: chat bots that keep credentials in Redis, with the key
// shapes, commands and value sizes that were measured on real ones. Each bot knows what every key of its session must
// hold and verifies every byte that it reads, so a fleet is both a load and a judge. It is an ordinary go-redis client
// and works against the proxy and against Redis alike.
//
// A bot keeps no values, only a version number for each item: the bytes follow from (seed, bot, item, version). A
// write whose outcome is unknown (the connection broke) leaves several versions possible until the next write; a write
// that was refused changes nothing.
package bots
