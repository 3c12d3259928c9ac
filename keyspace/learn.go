package keyspace

import (
	"slices"
	"strings"
)

// Info is what COMMAND INFO of a server says about a command.
type Info struct {
	Name              string   // in any letter case; a subcommand is "foo|bar"
	Arity             int      // negative: at least
	Flags             []string // "write", "readonly", "denyoom", "movablekeys", ...
	First, Last, Step int      // keys; First 0: none. Last counts from the end when negative
	KeyFlags          []string // of all its key specifications together: "RO", "RM", "not_key", ...; may be nil
}

// Learn adds a command that the table lacks, and for a subcommand its container, and returns it; a command that the table
// has stays as it is and is returned. It may be called at any time; a Lookup that runs meanwhile sees either state.
//
// A "readonly" command reads its keys; any other is taken to change them in any way, or to remove them where a key
// specification says so. With "movablekeys" the result is Movable: the caller has to ask COMMAND GETKEYSANDFLAGS about
// every single call.
func (t *Table) Learn(info Info) *Command {
	name := strings.ToUpper(info.Name)
	t.learn.Lock()
	defer t.learn.Unlock()
	all := t.snap.Load().all
	if c := byName(all, name); c != nil {
		return c
	}
	all = slices.Clone(all)
	if parent, _, ok := strings.Cut(name, "|"); ok && byName(all, parent) == nil {
		all = append(all, learned(Info{Name: parent, Arity: -2}, parent, len(all)))
	}
	c := learned(info, name, len(all))
	t.snap.Store(newSnapshot(append(all, c)))
	return c
}

func byName(all []*Command, name string) *Command {
	for _, c := range all {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func learned(info Info, name string, index int) *Command {
	has := func(flag string) bool { return slices.Contains(info.Flags, flag) }
	c := &Command{Name: name, Index: index, Arity: info.Arity, Learned: true, Movable: has("movablekeys")}
	for flag, f := range map[string]Flags{"blocking": Blocking, "pubsub": PubSub, "admin": Admin, "denyoom": DenyOOM} {
		if has(flag) {
			c.Flags |= f
		}
	}
	access, isKey := ParseAccess(info.KeyFlags)
	switch {
	case has("readonly"):
		access = Read
	case access == Read:
		access = Write // not every key is only read, or the server is silent about it
	}
	if info.First > 0 && isKey {
		c.keys = spans(span{info.First, info.Last, max(info.Step, 1), access, Whole})
	}
	if c.Movable {
		c.keys.find = findMovable
	}
	c.Flags |= derived(c)
	if has("write") {
		c.Flags |= Writing
	}
	return c
}
