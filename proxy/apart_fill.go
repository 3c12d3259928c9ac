package proxy

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"credproxy/internal/resp"
	"credproxy/internal/session"
	"credproxy/proxy/upstream"
)

// apart restores a value that Postgres has in parts. They go into one command as they come, which Redis runs when it is complete: so the key is
// there as a whole or not at all. Its last bytes are sent when all others have been found to be what was stored. why: it is poisoned.
func (f *filling) apart(k *session.Key, run upstream.Run) (why string, err error) {
	conn, release, err := f.s.privateIn(f.ctx, run, f.id.DB)
	if err != nil {
		return "", err
	}
	defer release()
	call := upstream.NewCall()
	var tail []byte
	begin := func(head session.Key) error {
		var start []byte
		start, tail = fillCommand(&head)
		return conn.Send(call, 1, start)
	}
	part := func(b []byte) error {
		progress(f.ctx)
		return conn.Pass(b)
	}
	f.watch.to(WaitPostgres)
	err = f.s.store.LoadApart(f.ctx, f.id, k.Name, time.Now().UnixMilli(), begin, part)
	f.watch.to(WaitRedis)
	if err != nil {
		conn.Abandon() // Redis forgets what it has of the command
		if bad, err := splitPoison(err); err == nil {
			return bad[k.Name], nil
		}
		return "", fmt.Errorf("restore key %q: %w", k.Name, err)
	}
	done := f.to.coming.step([]string{k.Name})
	defer done()
	if err = conn.Write(tail); err == nil {
		err = call.Wait()
	}
	if err != nil {
		return "", fmt.Errorf("restore key %q: %w", k.Name, err)
	}
	return filled(k.Name, call.Reply(0))
}

// fillCommand is the command that restores a key unless it is there, around the value.
func fillCommand(k *session.Key) (start, tail []byte) {
	expiry := strconv.FormatInt(k.ExpireAt, 10)
	size := "$" + strconv.FormatInt(k.Apart, 10) + "\r\n"
	tail = []byte("\r\n")
	if k.Type != session.String {
		start = resp.AppendArray(nil, 5)
		start = resp.AppendBulkString(resp.AppendBulkString(resp.AppendBulkString(start, "RESTORE"), k.Name), expiry)
		return append(start, size...), resp.AppendBulkString(tail, "ABSTTL")
	}
	n := 4
	if tail = resp.AppendBulkString(tail, "NX"); k.ExpireAt > 0 {
		n, tail = 6, resp.AppendBulkString(resp.AppendBulkString(tail, "PXAT"), expiry)
	}
	start = resp.AppendBulkString(resp.AppendBulkString(resp.AppendArray(nil, n), "SET"), k.Name)
	return append(start, size...), tail
}

// filled judges the answer, as answered and undumped do.
func filled(key string, reply []byte) (why string, err error) {
	if !resp.IsError(reply) {
		return "", nil
	}
	v, _, err := resp.Parse(reply)
	if err != nil {
		return "", fmt.Errorf("restore key %q: %w", key, err)
	}
	return refusedFill(key, errors.New(string(v.Str)))
}
