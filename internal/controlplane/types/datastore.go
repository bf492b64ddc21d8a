package types

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// SASTTL is how long a SAS from listSecrets or startPendingUpload opens its container: long enough for a big upload.
const SASTTL = 12 * time.Hour

// Types of datastores.
const (
	typeAzureBlob = "AzureBlob"
	typeS3        = "S3"
)

var containerRule = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`)

func datastore(d Deps) *resource.Type {
	return &resource.Type{
		Namespace: nsML, Name: "workspaces/datastores",
		APIVersions:         mlVersions,
		NameRule:            regexp.MustCompile(`^[A-Za-z0-9_]{1,255}$`),
		NameHelp:            "1 to 255 letters, digits and '_'",
		NoProvisioningState: true,
		Admit: func(ctx context.Context, p *resource.Put) error {
			return admitDatastore(ctx, d, p)
		},
		Remove: func(_ context.Context, r *resource.Removal) (bool, error) {
			if n := strings.ToLower(r.Record.Name); n == blobStore || n == artifactStore {
				return false, arm.Errorf(409, "Conflict", "Datastore %s belongs to the workspace and goes with it; it cannot be deleted alone.", r.Record.Name)
			}
			return false, nil
		},
		Actions: map[string]resource.Action{"listsecrets": {Permission: "secret", Run: d.listSecrets}},
		Filter: func(q map[string]string, rec store.Record) bool {
			// Clients of the reference cannot read a list with a type that their version of the API does not have.
			if v := q["api-version"]; v != "" && v < machinelearning.APIVersion && field(rec, "datastoreType") == typeS3 {
				return false
			}
			want, err := strconv.ParseBool(strings.ToLower(q["isDefault"]))
			if err != nil {
				return true
			}
			props, err := oldProperties(&rec)
			is, _ := props["isDefault"].(bool)
			return err == nil && is == want
		},
	}
}

// newDatastore is a datastore of the workspace's own account.
func newDatastore(d Deps, id arm.ID, account string) machinelearning.DatastoreProperties {
	return machinelearning.DatastoreProperties{
		Tags: map[string]string{}, Properties: map[string]string{}, DatastoreType: typeAzureBlob, AccountName: account,
		Endpoint: d.StorageSuffix, Protocol: "https", Credentials: &machinelearning.DatastoreCredentials{CredentialsType: "Sas"},
		ServiceDataAccessAuthIdentity: "None", SubscriptionID: id.Subscription, ResourceGroup: id.ResourceGroup,
	}
}

func admitDatastore(ctx context.Context, d Deps, p *resource.Put) error {
	props, err := object(p.Body, "properties")
	if err != nil {
		return err
	}
	old, err := oldProperties(p.Old)
	if err != nil {
		return err
	}
	textLabels(props)
	typ, err := datastoreType(props, old)
	if err != nil {
		return err
	}
	if typ == typeS3 {
		return d.admitS3(p, props, old)
	}
	var given machinelearning.DatastoreProperties
	if err := decode(props, &given); err != nil {
		return err
	}
	account, err := getAccount(ctx, p.Tx, p.ID)
	if err != nil {
		return err
	}
	ds := newDatastore(d, p.ID, account)
	if given.AccountName != "" && given.AccountName != ds.AccountName {
		return arm.Invalid("properties.accountName", "properties.accountName is %q; in this release a datastore is a container of the workspace's own account, %s. Leave accountName out.", given.AccountName, ds.AccountName)
	}
	if !containerRule.MatchString(given.ContainerName) || len(given.ContainerName) > 63 {
		return arm.Invalid("properties.containerName", "properties.containerName is %q; it must be 3 to 63 lower-case letters, digits and single hyphens.", given.ContainerName)
	}
	if c, ok := old["containerName"].(string); ok && c != given.ContainerName {
		return arm.Invalid("properties.containerName", "properties.containerName cannot be changed from %q to %q; make another datastore.", c, given.ContainerName)
	}
	ds.ContainerName, ds.Description = given.ContainerName, given.Description
	ds.IsDefault, _ = old["isDefault"].(bool)
	if given.Tags != nil {
		ds.Tags = given.Tags
	}
	if given.Properties != nil {
		ds.Properties = given.Properties
	}
	return overlay(props, ds) // credentials that were sent are not kept: the service makes its own
}

// datastoreType reads the type of a datastore, which stays.
func datastoreType(props, old map[string]any) (string, error) {
	const at = "properties.datastoreType"
	var given struct{ DatastoreType string }
	if err := decode(props, &given); err != nil {
		return "", err
	}
	typ, err := enum(at, given.DatastoreType, typeAzureBlob, typeS3)
	if err != nil {
		return "", err
	}
	if was, ok := old["datastoreType"].(string); ok && was != typ {
		return "", arm.Invalid(at, "%s cannot be changed from %q to %q; make another datastore.", at, was, typ)
	}
	return typ, nil
}

// listSecrets answers with a SAS for the datastore's container, or with the key of a bucket.
func (d Deps) listSecrets(_ context.Context, a *resource.Call) (any, error) {
	if field(a.Record, "datastoreType") == typeS3 {
		return d.listS3Secrets(a.Record)
	}
	var ds machinelearning.DatastoreProperties
	if err := unmarshalProperties(a.Record, &ds); err != nil {
		return nil, err
	}
	_, token, _ := strings.Cut(d.Blobs.SAS(ds.AccountName, ds.ContainerName, "", "racwdl", SASTTL), "?")
	return machinelearning.DatastoreSecrets{SecretsType: "Sas", SASToken: token}, nil
}
