package bots

import (
	"context"
	"fmt"
	"time"
)

// uploadBatch is how many pre-keys a bot uploads when it runs low; a fresh pairing sends all of its in one command.
const uploadBatch = 30

// pair makes a session out of nothing: credentials, then all pre-keys at once.
func (b *bot) pair(ctx context.Context) {
	b.read(ctx, item{kind: creds}) // nil, and it must really be nil: a bot that finds none makes a new identity
	var fresh []item
	for n := range b.fleet.cfg.PreKeys {
		fresh = append(fresh, item{preKey, n})
	}
	b.write(ctx, item{kind: creds})
	b.write(ctx, fresh...)
}

// paired reports whether the bot has credentials, or may have.
func (m *model) paired() bool {
	e := m.at(item{kind: creds})
	return e.Version > 0 || len(e.Maybe) > 0
}

// boot reads what a bot's program reads when it starts; false when it could not.
func (b *bot) boot(ctx context.Context) bool {
	if !b.read(ctx, item{kind: creds}) {
		return false
	}
	b.read(ctx, b.pick(signalSession, 5)...)
	return true
}

// step does one thing that a working bot does; the weights follow recorded traffic. In it 0 to 50 % of the reads find
// nothing, because a bot asks for keys of peers it has never met.
func (b *bot) step(ctx context.Context) {
	switch p := b.rng.IntN(1000); {
	case p < 300: // a message: read the peer's session, write it back
		b.turn(ctx, signalSession)
	case p < 450: // a group message goes to many peers
		b.read(ctx, b.pick(signalSession, 8)...)
	case p < 550:
		b.turn(ctx, senderKey)
	case p < 700:
		b.read(ctx, b.absent()...)
	case p < 780: // a pre-key is used once and then gone
		b.consume(ctx)
	case p < 840:
		b.write(ctx, b.pick(tcToken, 1)...)
	case p < 890:
		b.write(ctx, b.pick(deviceList, 2)...)
	case p < 940:
		b.turn(ctx, creds)
	case p < 985:
		b.read(ctx, b.pick(preKey, 3)...)
	case p < 990:
		b.turn(ctx, appState)
	case p < 999:
		b.readAll(ctx)
	default:
		b.logout(ctx)
	}
}

// pick chooses up to n different items of a kind.
func (b *bot) pick(k kind, n int) []item {
	count := len(b.model.entries[k])
	if count == 0 {
		return nil
	}
	items := make([]item, 0, n)
	for at := b.rng.IntN(count); len(items) < min(n, count); at = (at + 1) % count {
		items = append(items, item{k, at})
	}
	return items
}

// turn reads an item and writes it back changed.
func (b *bot) turn(ctx context.Context, k kind) {
	items := b.pick(k, 1)
	if b.read(ctx, items...) {
		b.write(ctx, items...)
	}
}

// absent chooses a few items that are not there.
func (b *bot) absent() []item {
	k := []kind{signalSession, senderKey, preKey, tcToken}[b.rng.IntN(4)]
	var none []item
	b.model.each(k, false, func(it item) { none = append(none, it) })
	if len(none) > 3 {
		at := b.rng.IntN(len(none) - 2)
		none = none[at : at+2]
	}
	return none
}

// consume reads a pre-key and removes it, and uploads new ones when few are left.
func (b *bot) consume(ctx context.Context) {
	var have, free []item
	b.model.each(preKey, true, func(it item) { have = append(have, it) })
	b.model.each(preKey, false, func(it item) { free = append(free, it) })
	if len(have) < b.fleet.cfg.PreKeys/2+1 {
		b.write(ctx, free[:min(len(free), uploadBatch)]...)
	}
	if len(have) == 0 {
		return
	}
	if it := have[b.rng.IntN(len(have))]; b.read(ctx, it) {
		b.remove(ctx, it)
	}
}

// readAll verifies the whole session: every item that was ever written, that nothing else is in the hash, and how long
// the credentials live.
func (b *bot) readAll(ctx context.Context) bool {
	return b.readFields(ctx) && b.readStrings(ctx) && b.readTTL(ctx)
}

// readFields compares a HGETALL, so that a field which nobody wrote shows as well.
func (b *bot) readFields(ctx context.Context) bool {
	if b.store.shape.hash(b.store.id) == "" {
		return true
	}
	fields, err := b.store.fields(ctx)
	b.fleet.count.ops.Add(1)
	if err != nil {
		b.fleet.failed(b, "read hash", err)
		return false
	}
	for _, it := range b.model.all() {
		if _, isString := b.store.shape.stringKey(b.store.id, it); isString {
			continue
		}
		var got []byte
		if v, there := fields[it.name()]; there {
			got = append([]byte{}, v...)
			delete(fields, it.name())
		}
		b.verify(it, got)
	}
	if len(fields) > 0 {
		b.wrong("hash", fmt.Sprintf("%d fields that were never written", len(fields)))
	}
	return true
}

// readStrings reads in batches, as a program that walks its keys does.
func (b *bot) readStrings(ctx context.Context) bool {
	var strs []item
	for _, it := range b.model.all() {
		if _, isString := b.store.shape.stringKey(b.store.id, it); isString {
			strs = append(strs, it)
		}
	}
	for len(strs) > 0 {
		n := min(len(strs), 100)
		if !b.read(ctx, strs[:n]...) {
			return false
		}
		strs = strs[n:]
	}
	return true
}

// clockSlack is how far a TTL may be off: the time between a write and its reply, and a busy machine.
const clockSlack = 10 * time.Second

// keyIsGone is what go-redis makes of PTTL's -2.
const keyIsGone = time.Duration(-2)

// readTTL verifies what a restore could lose unnoticed: the expiry.
func (b *bot) readTTL(ctx context.Context) bool {
	if e := b.model.at(item{kind: creds}); e.Version == 0 || len(e.Maybe) > 0 {
		return true
	}
	ttl, has, err := b.store.credsTTL(ctx)
	if !has {
		return true
	}
	b.fleet.count.ops.Add(1)
	if err != nil {
		b.fleet.failed(b, "read ttl", err)
		return false
	}
	if ttl == keyIsGone {
		return true // reading the value has said so
	}
	if want := expiry - time.Since(b.model.credsAt); ttl > want+clockSlack || ttl < want-clockSlack {
		b.wrong("creds", fmt.Sprintf("expires in %v, but should in %v", ttl, want))
	}
	return true
}

// logout deletes the whole session, verifies that it is gone, and pairs again.
func (b *bot) logout(ctx context.Context) {
	listed, lists, err := b.store.list(ctx)
	if err != nil {
		b.fleet.failed(b, "list", err)
		return
	}
	if lists && !b.checkList(listed) {
		return
	}
	err = b.store.logout(ctx, listed)
	items := b.model.all()
	b.settle("logout", err, items, make([]uint32, len(items)))
	if err == nil {
		b.readAll(ctx)
		b.pair(ctx)
	}
}

// checkList compares a listing with what must be there: a key that a listing leaves out survives the logout.
func (b *bot) checkList(listed []string) bool {
	b.fleet.count.ops.Add(1)
	found := make(map[string]bool, len(listed))
	for _, k := range listed {
		found[k] = true
	}
	for k := range b.model.entries {
		complete := true
		b.model.each(kind(k), true, func(it item) {
			key, _ := b.store.shape.stringKey(b.store.id, it)
			if complete = complete && found[key]; !found[key] {
				b.wrong(it.name(), "not in the listing")
			}
		})
		if !complete {
			return false
		}
	}
	return true
}
