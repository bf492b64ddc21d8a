package datastores

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"fairlead.dev/fairlead/internal/controlplane/types"
)

// unsignedPayload says that a request's body is not part of its signature: who is sent on has not told it.
const unsignedPayload = "UNSIGNED-PAYLOAD"

// signed is the address in a bucket at which an operation is allowed until ttl is over. The bucket is named in the path, which every
// store understands, whatever its DNS.
func signed(ctx context.Context, s types.S3, op operation, path string, now time.Time, ttl time.Duration) (string, error) {
	q := url.Values{}
	for k, v := range op.query {
		q[k] = v
	}
	key := s.BucketName
	if path != "" {
		key += "/" + s.Key(path)
	} else {
		q.Set("prefix", s.Key(q.Get("prefix")))
	}
	u, err := url.Parse(s.Endpoint)
	if err != nil {
		return "", fmt.Errorf("reading the endpoint: %w", err)
	}
	u.Path, u.RawPath = "/"+key, "/"+escapeKey(key)
	if s.AccessKeyID == "" {
		u.RawQuery = encodeQuery(q)
		return u.String(), nil
	}
	q.Set("X-Amz-Expires", strconv.Itoa(int(ttl/time.Second)))
	u.RawQuery = encodeQuery(q)
	r := &http.Request{Method: op.method, URL: u, Host: u.Host, Header: http.Header{}}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	at, _, err := signer.PresignHTTP(ctx, aws.Credentials{AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey}, r, unsignedPayload, "s3", s.Region, now)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return at, nil
}

// encodeQuery writes a space as %20, as the signature has it.
func encodeQuery(q url.Values) string { return strings.ReplaceAll(q.Encode(), "+", "%20") }

// escapeKey escapes all but letters, digits, "-", ".", "_", "~" and slashes, which is how S3 computes signatures.
func escapeKey(key string) string {
	var b strings.Builder
	for i := 0; i < len(key); i++ {
		c := key[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~/", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}
