package spec

import "slices"

// Datastore is a place for data. Type is azure_blob or s3.
type Datastore struct {
	Name, Type, Description string
	Tags                    map[string]string
	Endpoint                string
	// Of azure_blob.
	Account, Container, Protocol, AccountKey, SAS string
	// Of s3. No AccessKeyID: everybody may read the bucket.
	Bucket, Region, Prefix, AccessKeyID, SecretAccessKey string
}

// datastoreKeys are the keys that only one type of datastore has.
var datastoreKeys = map[string][]string{
	"azure_blob": {"account_name", "container_name", "protocol"},
	"s3":         {"bucket_name", "region", "prefix"},
}

// Datastore gives a document the meaning of a datastore.
func (doc *Document) Datastore() (*Datastore, error) {
	s, d := &Datastore{}, &decoder{file: doc.file}
	d.object(doc.root, "", fields{
		"$schema": text(new(string)), "name": text(&s.Name), "type": choice(&s.Type, "azure_blob", "s3"), "description": text(&s.Description),
		"endpoint": text(&s.Endpoint), "tags": stringMap(&s.Tags),
		"account_name": text(&s.Account), "container_name": text(&s.Container), "protocol": choice(&s.Protocol, "https"),
		"bucket_name": text(&s.Bucket), "region": text(&s.Region), "prefix": text(&s.Prefix),
		"credentials": object(func() fields {
			return fields{"account_key": text(&s.AccountKey), "sas_token": text(&s.SAS),
				"access_key_id": text(&s.AccessKeyID), "secret_access_key": text(&s.SecretAccessKey)}
		}),
	})
	d.need(doc, "name", s.Name, "the datastore's name (or --name)")
	d.need(doc, "type", s.Type, "azure_blob or s3")
	s.ofType(d, doc)
	return s, d.err()
}

// ofType checks what depends on the type.
func (s *Datastore) ofType(d *decoder, doc *Document) {
	for typ, keys := range datastoreKeys {
		for _, key := range slices.Sorted(slices.Values(keys)) {
			if n := doc.node(key); n != nil && s.Type != "" && typ != s.Type {
				d.fail(n, "%s: is of type %s, not %s", key, typ, s.Type)
			}
		}
	}
	credentials := doc.node("credentials")
	switch s.Type {
	case "azure_blob":
		d.need(doc, "container_name", s.Container, "the container")
		if s.AccessKeyID+s.SecretAccessKey != "" {
			d.fail(credentials, "credentials: access_key_id and secret_access_key are of type s3")
		}
	case "s3":
		d.need(doc, "bucket_name", s.Bucket, "the bucket")
		if s.Endpoint == "" && s.Region == "" {
			d.fail(doc.node("type"), "endpoint: is required: the store's address, such as https://minio.example.com:9000; or for AWS region")
		}
		if s.AccountKey+s.SAS != "" {
			d.fail(credentials, "credentials: account_key and sas_token are of type azure_blob")
		}
		if (s.AccessKeyID == "") != (s.SecretAccessKey == "") {
			d.fail(credentials, "credentials: access_key_id and secret_access_key belong together; leave out both for a bucket that everybody may read")
		}
	}
}
