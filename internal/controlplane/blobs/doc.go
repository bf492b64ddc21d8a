// Package blobs is the blob front: block and append blobs at /blob/{account}/{container}/{name…}, kept in any bucket of
// gocloud.dev/blob and served in the REST protocol of Azure Blob Storage as far as its common clients use it.
//
// Objects in the bucket, with / as separator (enc is encodeName):
//
//	b/<account>/<container>/<enc(name)>!                     a block blob's content
//	b/<account>/<container>/<enc(name)>!a/head               an append blob: properties and metadata, no content
//	b/<account>/<container>/<enc(name)>!a/<offset>-<level>   one segment of an append blob
//	u/<account>/<container>/<hash(name)>/<hex block id>      a block that is staged but not committed
//	c/<account>/<container>/<hash(name)>                     the list of committed blocks of a block blob, or the MD5 of a large one
//
// Containers exist as soon as they are named. Writes of one blob take turns: what a request demands of the blob holds when it is
// written, also where several servers share the bucket (Config.Lock). A segment's name is its offset, created only if absent, so two
// appends never get the same position. When sixteen segments of a level end an append blob they are merged to
// one of the next level, up to 64 MiB; so each byte is rewritten at most a few times and a log has few segments.
// Merged-away segments stay until the next merge, for readers that listed before.
package blobs
