package link

import "sync"

// BufferSize is how much is copied at a time; it is also the largest frame that one stream puts between two of another's.
const BufferSize = 32 << 10

// Buffers lends buffers of BufferSize; as an httputil.BufferPool too. The zero value is ready.
type Buffers struct{ pool sync.Pool }

// Get lends one.
func (b *Buffers) Get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, BufferSize)
}

// Put takes one back.
func (b *Buffers) Put(p []byte) { b.pool.Put(&p) }
