//go:build !unix

package cache

import "context"

// lock does nothing where files cannot be locked: two builds then do the same work and the later rename fails.
func lock(context.Context, string) (func(), error) { return func() {}, nil }
