package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"credproxy/keyspace"
	"credproxy/proxy/upstream"
)

// handler answers a command that needs more than its way to Redis and back.
type handler struct {
	run    func(c *client, cmd *keyspace.Command, args [][]byte, raw []byte)
	always bool // also before authentication, inside MULTI and for subscribers
	early  bool // also before authentication
	inTx   bool // inside MULTI it is run, not queued
	// standIn says, given the command, what is queued in a transaction for one that is run here when Redis has run the
	// transaction; see queue.go.
	standIn func(raw []byte) []byte
}

// handlerTable says which command has which handler.
var handlerTable = map[string]handler{
	"AUTH":  {run: (*client).cmdAuth, early: true},
	"HELLO": {run: (*client).cmdHello, early: true},
	"QUIT":  {run: (*client).cmdQuit, always: true},
	"RESET": {run: (*client).cmdReset, always: true},

	"SELECT":              {run: (*client).cmdSelect},
	"CLIENT|ID":           {run: asked(itself, (*client).cmdClientID), standIn: itself},
	"CLIENT|GETNAME":      {run: asked(itself, (*client).cmdClientGetName), standIn: itself},
	"CLIENT|SETNAME":      {run: asked(instead("CLIENT", "SETNAME", ""), (*client).cmdClientSetName), standIn: itself},
	"CLIENT|SETINFO":      {run: asked(instead("CLIENT", "SETINFO", "LIB-VER", ""), (*client).cmdClientSetInfo), standIn: itself},
	"CLIENT|INFO":         {run: asked(itself, (*client).cmdClientInfo), standIn: itself},
	"CLIENT|LIST":         {run: (*client).cmdClientList, standIn: itself},
	"CLIENT|KILL":         {run: (*client).cmdClientKill, standIn: instead("CLIENT", "KILL", "ID", noClient)},
	"CLIENT|REPLY":        {run: asked(instead("CLIENT", "REPLY", "ON"), (*client).cmdClientReply)},
	"CLIENT|NO-EVICT":     {run: asked(instead("CLIENT", "NO-EVICT", "off"), (*client).cmdClientSwitch), standIn: itself},
	"CLIENT|NO-TOUCH":     {run: asked(instead("CLIENT", "NO-TOUCH", "off"), (*client).cmdClientSwitch), standIn: itself},
	"CLIENT|TRACKING":     {run: (*client).cmdClientTracking},
	"CLIENT|UNBLOCK":      {run: (*client).cmdClientUnblock, standIn: instead("CLIENT", "UNBLOCK", "0")},
	"ACL|SETUSER":         {run: (*client).cmdACLChange},
	"ACL|DELUSER":         {run: (*client).cmdACLChange},
	"ACL|LOAD":            {run: (*client).cmdACLChange},
	"SCRIPT|DEBUG":        {run: (*client).cmdScriptDebug},
	"ACL|WHOAMI":          {run: asked(itself, (*client).cmdWhoAmI), standIn: itself},
	"CLIENT|GETREDIR":     {run: asked(itself, (*client).cmdClientGetRedir), standIn: itself},
	"CLIENT|CACHING":      {run: (*client).cmdClientCaching},
	"CLIENT|TRACKINGINFO": {run: (*client).cmdClientTrackingInfo, standIn: itself},
	"SYNC":                {run: (*client).cmdUnsupported}, // these three would turn a connection that others share into a replica's
	"PSYNC":               {run: (*client).cmdUnsupported},
	"REPLCONF":            {run: (*client).cmdUnsupported},
	"MULTI":               {run: (*client).cmdMulti, inTx: true},
	"EXEC":                {run: (*client).cmdExec, inTx: true},
	"DISCARD":             {run: (*client).cmdDiscard, inTx: true},
	"WATCH":               {run: (*client).cmdWatch, inTx: true},
	"UNWATCH":             {run: asked(itself, (*client).cmdUnwatch)},
	"SUBSCRIBE":           {run: (*client).cmdSubscribe},
	"PSUBSCRIBE":          {run: (*client).cmdSubscribe},
	"SSUBSCRIBE":          {run: (*client).cmdSubscribe},
	"UNSUBSCRIBE":         {run: (*client).cmdSubscribe},
	"PUNSUBSCRIBE":        {run: (*client).cmdSubscribe},
	"SUNSUBSCRIBE":        {run: (*client).cmdSubscribe},
	"MONITOR":             {run: (*client).cmdMonitor},
	"INFO":                {run: (*client).cmdInfo},
	"KEYS":                {run: (*client).cmdListing},
	"SCAN":                {run: (*client).cmdListing},
	"DBSIZE":              {run: (*client).cmdListing},
	"RANDOMKEY":           {run: (*client).cmdListing},
	"FLUSHALL":            {run: (*client).cmdFlush},
	"FLUSHDB":             {run: (*client).cmdFlush},
	"SWAPDB":              {run: (*client).cmdSwapDB},
}

// greeting is what the proxy learns of Redis when it starts: what it needs to greet clients in Redis's name.
type greeting struct {
	needsAuth atomic.Bool
	version   string         // of Redis
	major     int            // of version
	minor     int            // of version
	hello     map[int][]byte // HELLO's reply by protocol, as Redis gave it
	handlers  []*handler     // by Command.Index
}

// minVersion is the oldest Redis that has what saving needs (PEXPIRETIME).
const minVersion = 7

func (s *Server) checkUpstream(ctx context.Context) error {
	g := &s.greeting
	info, err := s.control.db(0).Info(ctx).Result()
	if err != nil {
		return fmt.Errorf("reach Redis at %s: %w%s", s.cfg.Upstream.Address, err, s.cfg.Upstream.hint(err))
	}
	g.version, _ = infoField(info, "redis_version")
	if _, err := fmt.Sscanf(g.version, "%d.%d", &g.major, &g.minor); err != nil || g.major < minVersion {
		return fmt.Errorf("use Redis at %s: it is version %q, credproxy needs %d.0 or later", s.cfg.Upstream.Address, g.version, minVersion)
	}
	s.checkPayloads(ctx)
	if enabled, _ := infoField(info, "cluster_enabled"); enabled == "1" {
		return fmt.Errorf("use Redis at %s: it is a cluster node, credproxy needs a single Redis", s.cfg.Upstream.Address)
	}
	if err := s.learnGreeting(ctx); err != nil {
		return err
	}
	g.handlers = make([]*handler, s.table.Len())
	for name, h := range handlerTable {
		var args [][]byte
		for part := range strings.SplitSeq(name, "|") {
			args = append(args, []byte(part))
		}
		if cmd := s.table.Lookup(args); cmd != nil {
			g.handlers[cmd.Index] = &h
		}
	}
	return nil
}

// learnGreeting asks as a client without a password would: does Redis want one, and how does it answer HELLO?
func (s *Server) learnGreeting(ctx context.Context) error {
	g := &s.greeting
	g.hello = map[int][]byte{}
	conn, err := s.upstream.Login(ctx, upstream.Identity{Proto: 2})
	if err == nil {
		conn.Close()
	}
	var refused *upstream.RefusedError
	switch {
	case errors.As(err, &refused) && strings.HasPrefix(refused.Reply, "NOAUTH"):
		g.needsAuth.Store(true)
	case err != nil:
		return fmt.Errorf("reach Redis at %s: %w", s.cfg.Upstream.Address, err)
	}
	for _, proto := range []int{2, 3} {
		conn, err := s.upstream.Login(ctx, s.ownIdentity(proto))
		if err != nil {
			return fmt.Errorf("greet Redis at %s: %w", s.cfg.Upstream.Address, err)
		}
		call := upstream.NewCall()
		if err = conn.Send(call, 1, command("HELLO", itoa(proto))); err == nil {
			err = call.Wait()
		}
		if err == nil {
			g.hello[proto] = bytes.Clone(call.Reply(0))
		}
		conn.Close()
		if err != nil {
			return fmt.Errorf("greet Redis at %s: %w", s.cfg.Upstream.Address, err)
		}
	}
	return nil
}

func (s *Server) ownIdentity(proto int) upstream.Identity {
	u := s.cfg.Upstream
	return upstream.Identity{Proto: proto, Auth: u.Password != "", User: u.Username, Password: u.Password}
}

// atLeast reports whether Redis is of this version or later.
func (g *greeting) atLeast(major, minor int) bool {
	return g.major > major || (g.major == major && g.minor >= minor)
}

// learned remembers which commands Redis was asked about.
type learned struct {
	mu    sync.Mutex // guards asked
	asked map[string]*question
}

// question is a name that Redis is or was asked about. One that stays in the map was answered: the table knows the command now,
// or Redis does not know it either.
type question struct {
	done chan struct{}
	err  error // set before done is closed: there was no answer
}

// maxUnknown bounds how many names are remembered; beyond it Redis is asked every time.
const maxUnknown = 1000

// lookup finds a command in the table, asking Redis once about one that the table lacks. An error means that nobody can tell
// what the command would do: nobody may send it past the gate while that is so.
func (c *client) lookup(args [][]byte) (*keyspace.Command, error) {
	s := c.s
	if cmd := s.table.Lookup(args); cmd != nil {
		return cmd, nil
	}
	if !c.authed || len(args) == 0 || len(args[0]) > 64 || isOwnCommand(args[0]) {
		return nil, nil
	}
	name := strings.ToLower(string(args[0]))
	q, mine := s.learned.ask(name)
	if mine {
		s.learned.answer(name, q, c.learn(name))
	}
	select {
	case <-q.done:
		return s.table.Lookup(args), q.err
	case <-c.ctx.Done():
		return nil, errShuttingDown
	}
}

// learn asks Redis about a command and adds what it says to the table. Redis's own refusal to tell is an answer.
func (c *client) learn(name string) error {
	ctx, cancel := context.WithTimeout(c.ctx, controlTimeout)
	defer cancel()
	info, err := c.s.askCommand(ctx, name)
	if info != nil {
		c.s.table.Learn(*info)
	}
	if isReply(err) {
		return nil
	}
	return err
}

// ask returns the question about a name; mine: the caller has to ask Redis, and to call answer.
func (l *learned) ask(name string) (q *question, mine bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if q := l.asked[name]; q != nil {
		return q, false
	}
	if l.asked == nil {
		l.asked = map[string]*question{}
	}
	q = &question{done: make(chan struct{})}
	l.asked[name] = q
	return q, true
}

// answer ends a question; it is asked again if there was no answer, or if there are too many to remember.
func (l *learned) answer(name string, q *question, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q.err = err
	close(q.done)
	if err != nil || len(l.asked) > maxUnknown {
		delete(l.asked, name)
	}
}

// askCommand asks COMMAND INFO; nil: Redis does not know it.
func (s *Server) askCommand(ctx context.Context, name string) (*keyspace.Info, error) {
	reply, err := s.control.db(0).Do(ctx, "COMMAND", "INFO", name).Slice()
	if err != nil {
		return nil, fmt.Errorf("ask Redis about command %q: %w", name, err)
	}
	if len(reply) != 1 {
		return nil, nil
	}
	row, ok := reply[0].([]any)
	if !ok || len(row) < 6 {
		return nil, nil
	}
	info := &keyspace.Info{Name: name}
	if n, ok := row[1].(int64); ok {
		info.Arity = int(n)
	}
	info.Flags = texts(row[2])
	for i, p := range []*int{&info.First, &info.Last, &info.Step} {
		if n, ok := row[3+i].(int64); ok {
			*p = int(n)
		}
	}
	return info, nil
}

func texts(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, e := range list {
		if t, ok := e.(string); ok {
			out = append(out, t)
		}
	}
	return out
}

// askKeys asks Redis which arguments of a learned command are keys.
func (l *learned) askKeys(ctx context.Context, c *control, args [][]byte) ([]keyspace.KeyArg, error) {
	req := []any{"COMMAND", "GETKEYSANDFLAGS"}
	for _, a := range args {
		req = append(req, a)
	}
	reply, err := c.db(0).Do(ctx, req...).Slice()
	if err != nil {
		return nil, fmt.Errorf("ask Redis for the keys of a command: %w", err)
	}
	var keys []keyspace.KeyArg
	for _, row := range reply {
		pair, ok := row.([]any)
		if !ok || len(pair) != 2 {
			continue
		}
		name, _ := pair[0].(string)
		access, isKey := keyspace.ParseAccess(texts(pair[1]))
		if !isKey {
			continue
		}
		for i := 1; i < len(args); i++ {
			if string(args[i]) == name {
				keys = append(keys, keyspace.KeyArg{Index: i, Access: access})
				break
			}
		}
	}
	return keys, nil
}

// unknown answers a command that neither the table nor Redis knows: with Redis's words for it, or ours for our own.
func (c *client) unknown(args [][]byte, raw []byte) {
	switch {
	case isOwnCommand(args[0]):
		c.flush()
		c.admin(args)
	case strings.EqualFold(string(args[0]), "CLIENT") && len(args) > 1:
		// Not forwarded: what it switches on would be switched on for a connection that others share.
		c.reply(errorReply(nil, textUnknownSub("client", args[1])))
	default:
		c.forward(nil, args, raw)
	}
}

func isOwnCommand(name []byte) bool { return strings.EqualFold(string(name), "CREDPROXY") }

func (c *client) cmdUnsupported(cmd *keyspace.Command, _ [][]byte, _ []byte) {
	c.reply(errorReply(nil, fmt.Sprintf("ERR credproxy: %s is not supported through the proxy", strings.ReplaceAll(cmd.Name, "|", " "))))
}

// cmdScriptDebug takes what does not debug. A debugger would hold a connection, and Redis, for as long as its user thinks.
func (c *client) cmdScriptDebug(cmd *keyspace.Command, args [][]byte, raw []byte) {
	switch strings.ToLower(string(args[2])) {
	case "yes", "sync":
		c.cmdUnsupported(cmd, args, raw)
	default:
		c.pass(raw)
	}
}
