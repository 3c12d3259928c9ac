package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"credproxy/internal/resp"
)

// Identity is what a data connection is made for. Two clients may share a connection only if all of it is equal.
type Identity struct {
	DB       int
	Proto    int // 2 or 3
	Auth     bool
	User     string // empty with Auth: AUTH with one argument
	Password string
}

// RefusedError is Redis's own error reply to a handshake (wrong password, database out of range).
type RefusedError struct {
	Reply string // without '-' and line end
}

func (e *RefusedError) Error() string { return "Redis refused the connection: " + e.Reply }

// dialTimeout bounds a connection attempt with its handshake.
const dialTimeout = 5 * time.Second

// dial opens a connection, authenticates, selects the database and learns the run.
func (u *Upstream) dial(ctx context.Context, id Identity) (net.Conn, greeting, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nc, err := u.dialer.Dial(ctx)
	if err != nil {
		return nil, greeting{}, err
	}
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	g, err := u.handshake(nc, id)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		nc.Close()
		return nil, greeting{}, err
	}
	return nc, g, nil
}

// greeting is what a handshake tells.
type greeting struct {
	run    Run
	client int64 // the number under which Redis knows the connection; 0: not known
}

// handshake sends everything in one write; Redis runs it in order.
func (u *Upstream) handshake(nc net.Conn, id Identity) (greeting, error) {
	var req []byte
	replies := 2
	if id.Auth {
		if id.User == "" {
			req = resp.AppendCommand(req, "AUTH", id.Password)
		} else {
			req = resp.AppendCommand(req, "AUTH", id.User, id.Password)
		}
		replies++
	}
	if id.DB != 0 { // where a connection begins is not asked for: the user may have no permission to SELECT
		req = resp.AppendCommand(req, "SELECT", strconv.Itoa(id.DB))
		replies++
	}
	req = resp.AppendCommand(req, "HELLO", strconv.Itoa(id.Proto)) // in RESP2, too: it tells the connection's number, and to any user
	req = resp.AppendCommand(req, "INFO", "server")
	if _, err := nc.Write(req); err != nil {
		return greeting{}, fmt.Errorf("greet Redis: %w", err)
	}
	raw, err := readReplies(nc, replies)
	if err != nil {
		return greeting{}, fmt.Errorf("greet Redis: %w", err)
	}
	hello := raw[replies-2]
	for _, reply := range raw[:replies-1] { // the greeting needs no permission of its own, so what fails is the first step
		if resp.IsError(reply) {
			return greeting{}, &RefusedError{Reply: errorText(reply)}
		}
	}
	run, err := u.runOf(raw[replies-1])
	return greeting{run, clientOf(hello)}, err
}

// clientOf finds the connection's number in the reply to HELLO, 0 if it is not there.
func clientOf(hello []byte) int64 {
	v, _, err := resp.Parse(hello)
	if err != nil {
		return 0
	}
	for i := 0; i+1 < len(v.Elems); i += 2 {
		if string(v.Elems[i].Str) == "id" {
			return v.Elems[i+1].Int
		}
	}
	return 0
}

// runOf reads the run out of INFO's reply. A user whose ACL forbids INFO is asked for through the proxy's own connection
// instead: if that one still talks to a known run after this handshake was answered, this connection talks to the same.
func (u *Upstream) runOf(info []byte) (Run, error) {
	if resp.IsError(info) {
		if strings.HasPrefix(string(info), "-NOPERM") && u.askRun != nil {
			return u.askRun()
		}
		return 0, &RefusedError{Reply: errorText(info)}
	}
	id := RunID(info)
	if id == "" {
		return 0, errors.New("greet Redis: INFO names no run_id")
	}
	return u.runs.Observe(id), nil
}

// RunID finds the run_id in the text of INFO, "" if there is none.
func RunID(info []byte) string {
	_, rest, ok := bytes.Cut(info, []byte("run_id:"))
	if !ok {
		return ""
	}
	id, _, _ := bytes.Cut(rest, []byte("\r\n"))
	return string(id)
}

func readReplies(nc net.Conn, n int) ([][]byte, error) {
	var (
		framer resp.Framer
		data   []byte
		frames [][]byte
		start  int
		buf    = make([]byte, 8<<10)
	)
	for {
		got, err := nc.Read(buf)
		if err != nil {
			return nil, err
		}
		for b := buf[:got]; len(b) > 0; {
			k, done, err := framer.Next(b)
			if err != nil {
				return nil, err
			}
			data = append(data, b[:k]...)
			b = b[k:]
			if done {
				frames = append(frames, data[start:len(data):len(data)])
				start = len(data)
			}
		}
		if len(frames) >= n {
			return frames, nil
		}
	}
}

func errorText(reply []byte) string {
	return string(bytes.TrimRight(bytes.TrimPrefix(reply, []byte("-")), "\r\n"))
}
