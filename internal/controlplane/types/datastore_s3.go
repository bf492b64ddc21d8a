package types

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/dataaddress"
)

// S3 is a folder in a bucket of a store that speaks S3, and the key that opens it. Without a key everybody may read the bucket.
type S3 struct {
	Endpoint, Region, BucketName, Prefix string
	AccessKeyID, SecretAccessKey         string
}

// Key is the key of a path of the datastore, or the prefix of one.
func (s S3) Key(path string) string {
	if s.Prefix == "" {
		return path
	}
	return s.Prefix + "/" + path
}

// ErrNotS3 says that a datastore is of another type.
var ErrNotS3 = errors.New("the datastore is not in S3")

// OpenS3 reads a datastore's record; open decrypts its secret.
func OpenS3(rec store.Record, open func([]byte) ([]byte, error)) (S3, error) {
	var p machinelearning.S3DatastoreProperties
	if err := unmarshalProperties(rec, &p); err != nil {
		return S3{}, err
	}
	if p.DatastoreType != typeS3 {
		return S3{}, ErrNotS3
	}
	s := S3{Endpoint: p.Endpoint, Region: p.Region, BucketName: p.BucketName, Prefix: p.Prefix}
	if p.Credentials == nil || p.Credentials.CredentialsType != credentialsAccessKey {
		return s, nil
	}
	secret, err := openS3Secret(rec, open)
	s.AccessKeyID, s.SecretAccessKey = p.Credentials.AccessKeyID, secret.SecretAccessKey
	return s, err
}

func openS3Secret(rec store.Record, open func([]byte) ([]byte, error)) (machinelearning.S3Secrets, error) {
	var secret machinelearning.S3Secrets
	raw, err := open(rec.Secret)
	if err != nil {
		return secret, fmt.Errorf("opening the key of datastore %s: %w", rec.Key, err)
	}
	if err := json.Unmarshal(raw, &secret); err != nil {
		return secret, fmt.Errorf("decoding the key of datastore %s: %w", rec.Key, err)
	}
	return secret, nil
}

// Kinds of credentials.
const (
	credentialsAccessKey = "AccessKey"
	credentialsNone      = "None"
)

var (
	bucketRule    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$`)
	regionRule    = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
	accessKeyRule = regexp.MustCompile(`^[!-.0-~]{1,128}$`) // visible characters but "/", which parts what a signature speaks of
)

// maxSecretKey bounds a secret access key, in bytes.
const maxSecretKey = 1024

// admitS3 checks and completes a datastore of type S3 and seals its key.
func (d Deps) admitS3(p *resource.Put, props, old map[string]any) error {
	var ds, was machinelearning.S3DatastoreProperties
	if err := errors.Join(decode(props, &ds), decode(old, &was)); err != nil {
		return err
	}
	ds.DatastoreType, ds.IsDefault, ds.ServiceDataAccessAuthIdentity = typeS3, false, credentialsNone
	ds.Tags, ds.Properties = orEmpty(ds.Tags), orEmpty(ds.Properties)
	for _, check := range []func(*machinelearning.S3DatastoreProperties) error{checkBucket, checkEndpoint} {
		if err := check(&ds); err != nil {
			return err
		}
	}
	if p.Old != nil && (ds.BucketName != was.BucketName || ds.Prefix != was.Prefix) {
		return arm.Invalid("properties.bucketName", "properties.bucketName and properties.prefix cannot be changed from %q and %q to %q and %q; make another datastore.",
			was.BucketName, was.Prefix, ds.BucketName, ds.Prefix)
	}
	if ds.Credentials == nil {
		ds.Credentials = was.Credentials
	}
	if err := checkS3Credentials(&ds, was, p.Old != nil); err != nil {
		return err
	}
	if err := d.keepS3Secret(p, ds.Credentials); err != nil {
		return err
	}
	for k := range props { // also in other spelling, which decoding reads too: a key stays nowhere else
		if strings.EqualFold(k, "credentials") || strings.EqualFold(k, "prefix") {
			delete(props, k)
		}
	}
	return overlay(props, ds)
}

func checkBucket(ds *machinelearning.S3DatastoreProperties) error {
	if !bucketRule.MatchString(ds.BucketName) {
		return arm.Invalid("properties.bucketName", "properties.bucketName is %q; it must be the name of a bucket: 3 to 63 letters, digits, '.', '-' and '_', beginning and ending with a letter or digit. A folder in it goes to properties.prefix.", ds.BucketName)
	}
	ds.Prefix = strings.Trim(ds.Prefix, "/")
	if err := dataaddress.CheckPath(ds.Prefix); err != nil {
		return arm.Invalid("properties.prefix", "properties.prefix: %v; give a folder in the bucket, such as team/data.", err)
	}
	return nil
}

func checkEndpoint(ds *machinelearning.S3DatastoreProperties) error {
	if ds.Endpoint == "" && ds.Region == "" {
		return arm.Invalid("properties.endpoint", "properties.endpoint and properties.region are missing; give the store's address, such as https://minio.example.com:9000, or for AWS the region.")
	}
	if ds.Region == "" {
		ds.Region = "us-east-1"
	}
	if !regionRule.MatchString(ds.Region) {
		return arm.Invalid("properties.region", "properties.region is %q; it must be lower-case letters, digits and hyphens, such as eu-west-1. Stores without regions take us-east-1.", ds.Region)
	}
	if ds.Endpoint == "" {
		ds.Endpoint = "https://s3." + ds.Region + ".amazonaws.com"
		if strings.HasPrefix(ds.Region, "cn-") {
			ds.Endpoint += ".cn"
		}
	}
	ds.Endpoint = strings.TrimSuffix(ds.Endpoint, "/")
	u, err := url.Parse(ds.Endpoint)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		if err == nil {
			ds.Endpoint = u.Redacted()
		}
		return arm.Invalid("properties.endpoint", "properties.endpoint is %q; it must be http[s]://host[:port] alone, as pods reach it. The bucket goes to properties.bucketName, keys to properties.credentials.", ds.Endpoint)
	}
	return nil
}

// checkS3Credentials needs the secret whenever there was none, and when it would be used with another name or elsewhere.
func checkS3Credentials(ds *machinelearning.S3DatastoreProperties, was machinelearning.S3DatastoreProperties, exists bool) error {
	const at = "properties.credentials"
	c := ds.Credentials
	if c == nil {
		return arm.Invalid(at, `%s is missing; give {"credentialsType":"AccessKey","accessKeyId":…,"secrets":{"secretsType":"AccessKey","secretAccessKey":…}}, or {"credentialsType":"None"} for a bucket that everybody may read.`, at)
	}
	var err error
	if c.CredentialsType, err = enum(at+".credentialsType", c.CredentialsType, credentialsAccessKey, credentialsNone); err != nil {
		return err
	}
	if c.CredentialsType == credentialsNone {
		if c.AccessKeyID != "" || c.Secrets != nil {
			return arm.Invalid(at, "%s.credentialsType is None, but a key is given; make it AccessKey or leave the key out.", at)
		}
		return nil
	}
	if !accessKeyRule.MatchString(c.AccessKeyID) {
		return arm.Invalid(at+".accessKeyId", "%s.accessKeyId has %d characters; it must be 1 to 128 visible ASCII characters without '/'.", at, len(c.AccessKeyID))
	}
	kept := exists && was.Credentials != nil && was.Credentials.AccessKeyID == c.AccessKeyID && was.Endpoint == ds.Endpoint
	switch {
	case c.Secrets == nil && kept:
		return nil
	case c.Secrets == nil || c.Secrets.SecretAccessKey == "":
		return arm.Invalid(at+".secrets.secretAccessKey", "%s.secrets.secretAccessKey is missing; it is needed for a new datastore, and when accessKeyId or endpoint change.", at)
	case len(c.Secrets.SecretAccessKey) > maxSecretKey:
		return arm.Invalid(at+".secrets.secretAccessKey", "%s.secrets.secretAccessKey is %d bytes long; at most %d are allowed.", at, len(c.Secrets.SecretAccessKey), maxSecretKey)
	}
	return nil
}

// keepS3Secret moves a key that was sent from the body to where it is sealed.
func (d Deps) keepS3Secret(p *resource.Put, c *machinelearning.S3Credentials) error {
	if c.CredentialsType == credentialsNone {
		p.Record.Secret = nil
		return nil
	}
	if c.Secrets == nil {
		return nil
	}
	raw, err := json.Marshal(machinelearning.S3Secrets{SecretsType: credentialsAccessKey, AccessKeyID: c.AccessKeyID, SecretAccessKey: c.Secrets.SecretAccessKey})
	if err != nil {
		return fmt.Errorf("encoding the key: %w", err)
	}
	if p.Record.Secret, err = d.Seal(raw); err != nil {
		return fmt.Errorf("sealing the key: %w", err)
	}
	c.Secrets = nil
	return nil
}

// listS3Secrets answers with the key of a bucket.
func (d Deps) listS3Secrets(rec store.Record) (any, error) {
	if len(rec.Secret) == 0 {
		return nil, arm.Errorf(400, "NoCredentials", "Datastore %s has no credentials: its credentialsType is None.", rec.Name)
	}
	return openS3Secret(rec, d.Open)
}
