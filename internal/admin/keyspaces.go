package admin

import "credproxy/proxy"

// keyspaceJSON is a keyspace as the dashboard gets it.
type keyspaceJSON struct {
	Name     string `json:"name"`
	Resident int64  `json:"resident"`
	Bytes    int64  `json:"bytes"`
	Max      int64  `json:"max"` // 0: it has no budget of its own
}

func describeKeyspaces(spaces []proxy.Keyspace) []keyspaceJSON {
	list := make([]keyspaceJSON, len(spaces))
	for i, k := range spaces {
		list[i] = keyspaceJSON{k.Name, int64(k.Resident), k.Bytes, k.Max}
	}
	return list
}
