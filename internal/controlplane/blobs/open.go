package blobs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	_ "gocloud.dev/blob/s3blob" // s3:// URLs
)

// Open opens a bucket by URL: s3://bucket?region=…, or a folder given as a path or a file:// URL, made when absent and
// readable by its owner only.
func Open(ctx context.Context, url string) (*blob.Bucket, error) {
	if strings.Contains(url, "://") && !strings.HasPrefix(url, "file://") {
		b, err := blob.OpenBucket(ctx, url)
		if err != nil {
			return nil, fmt.Errorf("opening bucket %q: %w", url, err)
		}
		return b, nil
	}
	dir, err := filepath.Abs(strings.TrimPrefix(url, "file://"))
	if err != nil {
		return nil, fmt.Errorf("opening blob folder %q: %w", url, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening blob folder: %w", err)
	}
	// Temporary files beside the final ones: a rename may not cross file systems.
	b, err := fileblob.OpenBucket(dir, &fileblob.Options{NoTempDir: true, DirFileMode: 0o700})
	if err != nil {
		return nil, fmt.Errorf("opening blob folder %q: %w", dir, err)
	}
	return b, nil
}
