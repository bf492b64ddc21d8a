package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"gocloud.dev/blob"

	accounts "fairlead.dev/fairlead/internal/controlplane/types/account"
)

// DeleteFolder removes all blobs of a container below a folder.
func (f *Front) DeleteFolder(ctx context.Context, account, container, folder string) error {
	items, err := f.List(ctx, account, container, folder+"/")
	if err != nil {
		return err
	}
	for _, it := range items {
		if err := f.Delete(ctx, account, container, it.Name); err != nil {
			return fmt.Errorf("deleting %s of %s/%s: %w", it.Name, account, container, err)
		}
	}
	return nil
}

// DeleteAccount removes everything in an account that nobody writes to any more.
func (f *Front) DeleteAccount(ctx context.Context, account string) error {
	if !accounts.NameRule.MatchString(account) {
		return errorf(http.StatusBadRequest, "InvalidResourceName", "The account name %.64q must be 3 to 24 lower-case letters and digits.", account)
	}
	for _, root := range []string{"b/", "u/", "c/"} { // blobs, staged and committed blocks
		it := f.cfg.Bucket.List(&blob.ListOptions{Prefix: root + account + "/"})
		for {
			o, err := it.Next(ctx)
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil {
				err = f.cfg.Bucket.Delete(ctx, o.Key)
			}
			if err != nil && !isNotFound(err) {
				return fmt.Errorf("deleting account %s: %w", account, err)
			}
		}
	}
	return nil
}
