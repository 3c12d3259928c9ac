package resp

import "sync"

const (
	wideChunk = 2 * socketChunk // first buffer of a client that has just sent a command larger than socketChunk
	hugeChunk = 2 * wideChunk
	mostChunk = 2 * hugeChunk
	packChunk = 2 * mostChunk // only for who sends many such commands at once
)

// The pools lend buffers to the connections that hold unjudged bytes. An idle connection holds none. Those for larger commands are
// pooled, too: to make one for each SET of 16 KB, and to collect it, cost more than the command.
var (
	chunks     = sync.Pool{New: func() any { return new([socketChunk]byte) }}
	wideChunks = sync.Pool{New: func() any { return new([wideChunk]byte) }}
	hugeChunks = sync.Pool{New: func() any { return new([hugeChunk]byte) }}
	mostChunks = sync.Pool{New: func() any { return new([mostChunk]byte) }}
	packChunks = sync.Pool{New: func() any { return new([packChunk]byte) }}
)

// newBuffer returns a buffer of at least size bytes, and of less than twice as many; those of plain connections and beyond the
// largest pool have just the size.
func newBuffer(size int) []byte {
	switch {
	case size == packChunk:
		return packChunks.Get().(*[packChunk]byte)[:]
	case size <= socketChunk/2 || size > mostChunk:
		return make([]byte, size)
	case size <= socketChunk:
		return chunks.Get().(*[socketChunk]byte)[:]
	case size <= wideChunk:
		return wideChunks.Get().(*[wideChunk]byte)[:]
	case size <= hugeChunk:
		return hugeChunks.Get().(*[hugeChunk]byte)[:]
	}
	return mostChunks.Get().(*[mostChunk]byte)[:]
}

// giveBack returns a buffer of newBuffer's, which nobody uses any more.
func giveBack(b []byte) {
	switch cap(b) {
	case socketChunk:
		chunks.Put((*[socketChunk]byte)(b[:socketChunk]))
	case wideChunk:
		wideChunks.Put((*[wideChunk]byte)(b[:wideChunk]))
	case hugeChunk:
		hugeChunks.Put((*[hugeChunk]byte)(b[:hugeChunk]))
	case mostChunk:
		mostChunks.Put((*[mostChunk]byte)(b[:mostChunk]))
	case packChunk:
		packChunks.Put((*[packChunk]byte)(b[:packChunk]))
	}
}
