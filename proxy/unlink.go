package proxy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"credproxy/internal/session"
	"credproxy/keyspace"
	"credproxy/proxy/upstream"
)

// DEL and UNLINK of keys whose sessions are outside Redis do not bring them there first: a logout would move 17 MB to throw
// them away. The keys are deleted where they are, and what remains of the session stays outside.
//
//	L1  The gate of every session that the command names is closed (state loading, the flight is the command's) from before
//	    its keys are looked up until both stores have deleted them: nobody restores half of it meanwhile.
//	L2  Only a session at rest goes this way: no change waits, so Postgres has whatever Redis may have of it, or something newer.
//	    Redis is therefore asked first, and judges the command (a user without the right to delete, a read-only replica);
//	    if the commit in Postgres then fails, or the proxy dies, the key is still there and the client has had no answer.
//	L3  Claiming waits for nothing, so two such commands cannot wait for each other. Whoever cannot claim every session goes
//	    the ordinary way, through the gate.
//
// A commit that was given up may still come (D3): the key is held until then, and dirty afterwards.
type unlinking struct {
	c     *client
	keys  []string // each once; the flights and sessions are in the order of claiming
	owner []int    // keys[i] belongs to claims[owner[i]], -1 to no session
	at    map[string]int

	claims []claim
	lost   bool // Redis may still delete
}

// claim is a session whose gate the command has closed.
type claim struct {
	ref  ref
	fl   *flight
	id   session.ID
	was  state
	made bool // the table did not know it
}

// unlinkStored runs a DEL or UNLINK of sessions that are outside Redis; false: it is not one, and nothing has happened.
func (c *client) unlinkStored(cmd *keyspace.Command, keys []keyspace.KeyArg, args [][]byte, raw []byte) bool {
	if (cmd.Name != "DEL" && cmd.Name != "UNLINK") || c.own != nil || c.relaying() || c.s.store.HasSource() {
		return false // the application's own tables would have to be asked what is there
	}
	c.s.flushing.RLock()
	defer c.s.flushing.RUnlock()
	u := &unlinking{c: c, at: map[string]int{}}
	defer u.end()
	for _, k := range keys {
		if keyspace.Own(args[k.Index]) || !u.claim(args[k.Index]) {
			return false
		}
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.rules.wait)
	defer cancel()
	c.reply(u.run(ctx, raw))
	return true
}

// claim closes the gate of the key's session, unless this command has it already.
func (u *unlinking) claim(key []byte) bool {
	if _, again := u.at[string(key)]; again {
		return true
	}
	s := u.c.s.sessions
	owner := -1
	if identity, ok := s.match(u.c.idBuf, u.c.ident.DB, key); ok {
		u.c.idBuf = identity
		if owner = u.claimed(identity); owner < 0 {
			cl, ok := s.claim(identity)
			if !ok {
				return false
			}
			owner = len(u.claims)
			u.claims = append(u.claims, cl)
		}
	}
	u.at[string(key)] = len(u.keys)
	u.keys, u.owner = append(u.keys, string(key)), append(u.owner, owner)
	return true
}

func (u *unlinking) claimed(identity []byte) int {
	for i := range u.claims {
		if u.claims[i].ref.it.Key == string(identity) {
			return i
		}
	}
	return -1
}

// claim closes the gate of a session that is outside Redis and at rest.
func (s *sessions) claim(identity []byte) (claim, bool) {
	sh := s.table.Shard(identity)
	sh.Lock()
	defer sh.Unlock()
	it := sh.Get(identity)
	made := it == nil
	if made {
		it = sh.Add(string(identity), time.Now().UnixMilli())
		it.Value.fresh = true
	}
	g := &it.Value
	if (g.state != evicted && g.state != unknown) || g.more != nil {
		return claim{}, false
	}
	cl := claim{ref: ref{sh, it}, fl: newFlight(WaitPostgres, nil), id: s.id(it.Key), was: g.state, made: made}
	g.state = loading
	g.detailLocked().flight = cl.fl
	return cl, true
}

// end opens the gates again, when Redis has let go of a connection that was lost (T1). The sessions are where they were.
func (u *unlinking) end() {
	conn, s := u.c.g.conn, u.c.s
	if !u.lost {
		u.open()
		return
	}
	s.brief(func() {
		conn.Bury(func() { s.control.disconnect(s.base, conn) })
		u.open()
	})
}

func (u *unlinking) open() {
	for _, cl := range u.claims {
		cl.ref.endFlight(cl.fl, cl.was, nil)
		if cl.made {
			cl.ref.forgetUnused()
		}
	}
}

// forgetUnused takes a session out of the table that only a deletion has named.
func (r ref) forgetUnused() {
	r.sh.Lock()
	defer r.sh.Unlock()
	if g := &r.it.Value; g.state == unknown && g.more == nil && g.inFlight() == 0 && r.sh.GetString(r.it.Key) == r.it {
		r.sh.Remove(r.it)
	}
}

// run deletes the keys in both stores and returns the reply.
func (u *unlinking) run(ctx context.Context, raw []byte) []byte {
	stored, err := u.lookup(ctx)
	if err != nil {
		return errorReply(nil, gateText(err))
	}
	reply, err := u.c.roundTrip(raw)
	if err != nil {
		u.lost = errors.Is(err, upstream.ErrLost)
		return errorReply(nil, textUnavailable(err))
	}
	if len(reply) < 4 || reply[0] != ':' {
		return append([]byte(nil), reply...) // Redis refuses: nothing was deleted anywhere
	}
	n, err := strconv.Atoi(string(reply[1 : len(reply)-2]))
	if err != nil {
		return errorReply(nil, textUnavailable(fmt.Errorf("unexpected answer to a deletion: %w", err)))
	}
	u.c.s.barrier("unlink-sent")
	if err := u.remove(ctx, stored); err != nil {
		return errorReply(nil, gateText(err))
	}
	return fmt.Appendf(nil, ":%d\r\n", n+u.onlyStored(stored))
}

// storedKey is a key that Postgres has.
type storedKey struct {
	claim   int
	name    string
	inRedis bool // put there past the proxy
}

// lookup finds out which of the keys exist, and where.
func (u *unlinking) lookup(ctx context.Context) ([]storedKey, error) {
	var stored []storedKey
	for i, cl := range u.claims {
		names, err := u.namesOf(ctx, cl.id)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if at, wanted := u.at[name]; wanted && u.owner[at] == i {
				stored = append(stored, storedKey{claim: i, name: name})
			}
		}
	}
	if len(stored) == 0 {
		return nil, nil
	}
	cmds, err := u.c.s.control.db(u.c.ident.DB).Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range stored {
			p.Exists(ctx, stored[i].name)
		}
		return nil
	})
	if err != nil {
		return nil, unavailableError{fmt.Errorf("look for keys to delete: %w", err)}
	}
	for i := range stored {
		stored[i].inRedis = cmds[i].(*redis.IntCmd).Val() > 0
	}
	return stored, nil
}

// namesOf lists the stored keys of a session; while Postgres is away it tries again until ctx ends.
func (u *unlinking) namesOf(ctx context.Context, id session.ID) ([]string, error) {
	for {
		names, err := u.c.s.store.KeysOf(ctx, id, time.Now().UnixMilli())
		if err == nil {
			return names, nil
		}
		if err := pause(ctx, loadRetry, err); err != nil {
			return nil, err
		}
	}
}

// remove commits the deletion in Postgres.
func (u *unlinking) remove(ctx context.Context, stored []storedKey) error {
	if len(stored) == 0 {
		return nil
	}
	removals := make([]session.Removal, 0, len(stored))
	for _, k := range stored {
		cl := u.claims[k.claim]
		cl.ref.holdOnce(k.name)
		defer cl.ref.release(k.name)
		removals = append(removals, session.Removal{Session: cl.id, Key: k.name})
	}
	return u.c.s.remover.remove(ctx, removals)
}

// onlyStored counts the keys that Redis did not count.
func (u *unlinking) onlyStored(stored []storedKey) (n int) {
	for _, k := range stored {
		if !k.inRedis {
			n++
		}
	}
	return n
}
