package keyspace

import "strings"

// node is a node of a radix tree over the heads of patterns: a lookup compares every byte of a key's beginning once,
// however many patterns there are.
type node struct {
	edge string     // the bytes between the parent and this node
	here []*pattern // those whose head ends here
	kids []*node    // their edges start with different bytes
}

// next returns the child whose edge rest starts with.
func (n *node) next(rest []byte) *node {
	if len(rest) == 0 {
		return nil
	}
	for _, kid := range n.kids {
		if kid.edge[0] != rest[0] {
			continue
		}
		if len(rest) < len(kid.edge) || string(rest[:len(kid.edge)]) != kid.edge {
			return nil
		}
		return kid
	}
	return nil
}

// add files p under the node that head leads to from n.
func (n *node) add(p *pattern, head string) {
	if head == "" {
		n.here = append(n.here, p)
		return
	}
	for _, kid := range n.kids {
		if kid.edge[0] == head[0] {
			same := commonPrefix(kid.edge, head)
			kid.split(same)
			kid.add(p, head[same:])
			return
		}
	}
	n.kids = append(n.kids, &node{edge: head, here: []*pattern{p}})
}

// split cuts the edge that leads to n, so that n comes to stand after its first bytes.
func (n *node) split(at int) {
	if at == len(n.edge) {
		return
	}
	lower := &node{edge: n.edge[at:], here: n.here, kids: n.kids}
	*n = node{edge: strings.Clone(n.edge[:at]), kids: []*node{lower}}
}

func commonPrefix(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return i
}
