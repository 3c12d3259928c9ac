package keyspace

import (
	"bytes"
	"strings"
	"sync"
	"sync/atomic"
)

// Table is the set of known commands. It is safe for concurrent use; Lookup takes no lock.
type Table struct {
	learn sync.Mutex // held by Learn while it builds the next snapshot; readers never take it
	snap  atomic.Pointer[snapshot]
}

// snapshot is one immutable state of a Table: an open hash table over the names, at most a quarter full, so that a name
// that is not there is known to be so after a slot or two.
type snapshot struct {
	all     []*Command
	slots   []slot
	mask    uint32
	longest int // bytes of the longest name
}

type slot struct {
	cmd       *Command
	hash      uint32
	sub       bool // a subcommand: not to be found under its joined name
	container bool // has subcommands: the next argument counts
}

// NewTable returns a table of all commands of Redis 7.0 to 8.8.
func NewTable() *Table {
	var all []*Command
	// The order is that of FamilyNames, of which the first has no rows.
	for i, group := range [][]row{
		genericRows, stringRows, hashRows, listRows, setRows, zsetRows, streamRows, moreTypesRows, scriptRows,
		connectionRows, serverRows, clusterRows,
	} {
		for _, r := range group {
			c := r.command(len(all))
			c.Family = Family(i + 1)
			all = append(all, c)
		}
	}
	t := &Table{}
	t.snap.Store(newSnapshot(all))
	return t
}

// row is one line of the static table.
type row struct {
	name  string
	arity int
	flags Flags
	keys  keySpec
}

func (r row) command(index int) *Command {
	c := &Command{Name: r.name, Index: index, Flags: r.flags, Arity: r.arity, keys: r.keys}
	c.Flags |= derived(c)
	return c
}

// derived computes the flags that follow from a command's keys.
func derived(c *Command) Flags {
	var f Flags
	if c.keys.find == findNone {
		f |= NoKeys
	}
	if c.keys.writes() || c.Has(Flush) {
		f |= Writing
	}
	return f
}

// Len returns the number of commands: one more than the largest Index.
func (t *Table) Len() int { return len(t.snap.Load().all) }

// Lookup finds the command that args call, args[0] being the name, whatever its letter case; a container's subcommand when
// there is one ("OBJECT", "ENCODING", key -> "OBJECT|ENCODING"), the container itself when it stands alone. It returns nil
// for a command, or a subcommand of a container, that it does not know. It does not allocate.
//
// Redis compares names up to a zero byte, so that "GET\x00x" runs GET now and then (when the two names share a slot of its
// table). Lookup takes it for GET always.
func (t *Table) Lookup(args [][]byte) *Command {
	if len(args) == 0 {
		return nil
	}
	s := t.snap.Load()
	return s.called(s.find(args[0]), args)
}

// called returns what args call, whose first stands at top; nil: nowhere.
func (s *snapshot) called(top *slot, args [][]byte) *Command {
	if top == nil {
		return nil
	}
	if !top.container || len(args) == 1 {
		return top.cmd
	}
	if sub := s.findSub(top, args[1]); sub != nil {
		return sub.cmd
	}
	return nil
}

func (s *snapshot) find(name []byte) *slot {
	if e := s.findExact("", name, hashFold(hashSeed, name, s.longest)); e != nil {
		return e
	}
	if cut := bytes.IndexByte(name[:min(len(name), s.longest+1)], 0); cut >= 0 {
		return s.findExact("", name[:cut], hashFold(hashSeed, name[:cut], s.longest))
	}
	return nil
}

func (s *snapshot) findSub(top *slot, sub []byte) *slot {
	h := hashByte(top.hash, '|')
	if e := s.findExact(top.cmd.Name, sub, hashFold(h, sub, s.longest)); e != nil {
		return e
	}
	if cut := bytes.IndexByte(sub[:min(len(sub), s.longest+1)], 0); cut >= 0 {
		return s.findExact(top.cmd.Name, sub[:cut], hashFold(h, sub[:cut], s.longest))
	}
	return nil
}

// findExact finds "parent|name", or name where parent is empty.
func (s *snapshot) findExact(parent string, name []byte, h uint32) *slot {
	for i := h & s.mask; ; i = (i + 1) & s.mask {
		e := &s.slots[i]
		if e.cmd == nil {
			return nil
		}
		if e.hash == h && e.sub == (parent != "") && equalFold(e.cmd.Name, parent, name) {
			return e
		}
	}
}

func equalFold(full, parent string, name []byte) bool {
	if parent != "" {
		n := len(parent)
		if len(full) <= n || full[n] != '|' || full[:n] != parent {
			return false
		}
		full = full[n+1:]
	}
	if len(full) != len(name) {
		return false
	}
	for i, c := range name {
		if upper(c) != full[i] {
			return false
		}
	}
	return true
}

// hashSeed and the multiplier are those of 32-bit FNV-1a.
const hashSeed = 2166136261

func hashByte(h uint32, c byte) uint32 { return (h ^ uint32(c|0x20)) * 16777619 }

// hashFold continues h over name, letter case ignored. A name longer than any command gets a hash of its beginning: it
// will not be equal to anything.
func hashFold(h uint32, name []byte, longest int) uint32 {
	for _, c := range name[:min(len(name), longest)] {
		h = hashByte(h, c)
	}
	return h
}

func newSnapshot(all []*Command) *snapshot {
	size := 64
	for size < 4*len(all) {
		size *= 2
	}
	s := &snapshot{all: all, slots: make([]slot, size), mask: uint32(size - 1)}
	for _, c := range all {
		s.longest = max(s.longest, len(c.Name))
	}
	for _, c := range all {
		s.insert(c)
	}
	for _, c := range all {
		if parent, _, ok := strings.Cut(c.Name, "|"); ok {
			s.find([]byte(parent)).container = true
		}
	}
	return s
}

func (s *snapshot) insert(c *Command) {
	h := hashFold(hashSeed, []byte(c.Name), s.longest)
	i := h & s.mask
	for s.slots[i].cmd != nil {
		i = (i + 1) & s.mask
	}
	s.slots[i] = slot{cmd: c, hash: h, sub: strings.Contains(c.Name, "|")}
}
