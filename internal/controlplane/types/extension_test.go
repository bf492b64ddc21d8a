package types_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/testing/certtest"
)

func TestExtensionRefused(t *testing.T) {
	e := typestest.New(t)
	e.Base()
	e.Put(typestest.Cluster, typestest.ClusterBody())
	const settings, protected = "properties.configurationSettings", "properties.configurationProtectedSettings"
	cert, key := pair64(t, e.Now().Add(time.Hour))
	_, other := pair64(t, e.Now().Add(time.Hour))
	expired, expiredKey := pair64(t, e.Now().Add(-time.Minute))
	served := func(cert, key string) string {
		return `"configurationSettings":{"enableInference":"true"},"configurationProtectedSettings":{"scoringFe.sslCert":"` + cert + `","scoringFe.sslKey":"` + key + `"}`
	}
	for name, c := range map[string]struct{ props, target, text string }{
		"type":              {`"extensionType":"microsoft.flux"`, "properties.extensionType", "must be one of: Microsoft.AzureML.Kubernetes"},
		"scope":             {`"scope":{"namespace":{"targetNamespace":"x"}}`, "properties.scope", "only at 'cluster' scope"},
		"release namespace": {`"scope":{"cluster":{"releaseNamespace":"A_b"}}`, "properties.scope.cluster.releaseNamespace", `"A_b"`},
		"pinned and auto":   {`"autoUpgradeMinorVersion":true,"version":"1.0.0"`, "properties.version", "To pin to specific version"},
		"nothing enabled":   {`"configurationSettings":{}`, settings + ".enableTraining", "either enable Machine Learning training or inference"},
		"boolean":           {`"configurationSettings":{"enableTraining":"yes please"}`, settings + ".enableTraining", `"yes please" is not True or False`},
		"nested":            {`"configurationSettings":{"a":{"b":1}}`, settings + ".a", "dotted names"},
		"duplicate":         {`"configurationSettings":{"enableTraining":"true","location":"1"},"configurationProtectedSettings":{"location":"2"}`, settings + ".location", "Duplicate keys found."},
		"service type":      {`"configurationSettings":{"enableTraining":"true","inferenceRouterServiceType":"x"}`, settings + ".inferenceRouterServiceType", "please specify inferenceRouterServiceType"},
		"node port and ILB": {`"configurationSettings":{"enableTraining":"true","inferenceRouterServiceType":"NodePort","internalLoadBalancerProvider":"azure"}`, settings + ".internalLoadBalancerProvider", "no need to specify"},
		"expired":           {served(expired, expiredKey), protected + ".scoringFe.sslCert", "expired at"},
		"another's key":     {served(cert, other), protected + ".scoringFe.sslKey", "does not fit the certificate"},
		"no key":            {served(cert, ""), protected + ".scoringFe.sslKey", "is missing beside scoringFe.sslCert"},
		"no certificate":    {served("bm90aGluZw==", key), protected + ".scoringFe.sslCert", "PEM"},
		"both endpoints":    {`"configurationSettings":{"enableTraining":"true","privateEndpointNodeport":"true","privateEndpointILB":"true"}`, settings + ".privateEndpointILB", "Specify either"},
	} {
		t.Run(name, func(t *testing.T) {
			body := `{"properties":{"extensionType":"Microsoft.AzureML.Kubernetes",` + c.props + `}}`
			if strings.Contains(c.props, "extensionType") {
				body = `{"properties":{` + c.props + `}}`
			}
			refused(t, e.TryPut(typestest.Extension, body), c.target, c.text)
		})
	}
	e.Put(typestest.Extension, typestest.ExtensionBody)
	refused(t, e.TryPut(typestest.Extension+"2", typestest.ExtensionBody), "", "already has extension arcml")
}

// pair64 is a certificate and its key as clients send them.
func pair64(t *testing.T, until time.Time) (cert, key string) {
	t.Helper()
	c, k, err := certtest.Pair(until.Add(-48*time.Hour), until, "ml.example.com")
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(c), base64.StdEncoding.EncodeToString(k)
}

// TestExtensionBodies: what other clients send is taken unmodified.
func TestExtensionBodies(t *testing.T) {
	files, err := filepath.Glob("../../extensionsettings/testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".values.json") {
			continue
		}
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			e := typestest.New(t)
			e.Base()
			e.Put(typestest.Cluster, typestest.ClusterBody())
			e.Put(typestest.Extension, string(body))
			e.Put(typestest.Extension, strings.Replace(string(body), `"configurationProtectedSettings": null`, `"configurationProtectedSettings": ""`, 1))
		})
	}
}

func TestExtensionRefusedTogether(t *testing.T) {
	e := typestest.New(t)
	e.Base()
	e.Put(typestest.Cluster, typestest.ClusterBody())
	err := e.TryPut(typestest.Extension, `{"properties":{"extensionType":"Microsoft.AzureML.Kubernetes","configurationSettings":{"enableTraining":"x","openshift":"y"},"configurationProtectedSettings":{"zz":"1"}}}`)
	var refusal *arm.Error
	if !errors.As(err, &refusal) || len(refusal.Details) != 2 || refusal.Details[1].Target != "properties.configurationProtectedSettings.zz" {
		t.Errorf("refused with %#v", err)
	}
}

func TestExtensionDesired(t *testing.T) {
	e := typestest.New(t)
	e.Base()
	e.Put(typestest.Cluster, typestest.ClusterBody())
	e.Put(typestest.Extension, typestest.ExtensionBody)
	want := link.Extension{Name: "arcml", ExtensionType: "Microsoft.AzureML.Kubernetes", ReleaseNamespace: "azureml", Generation: e.Now().UnixMilli(),
		Settings: map[string]string{"enableTraining": "True"}, ProtectedSettings: map[string]string{"servicebus.connectionString": "secret"}}
	check := func(what string) {
		t.Helper()
		var got link.Extension
		e.Desired("extension/arcml", &got)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s:\n%s", what, d)
		}
		raw, err := json.Marshal(e.Show(typestest.Extension))
		if err != nil {
			t.Fatal(err)
		}
		rec := e.Record(typestest.Extension)
		if strings.Contains(string(raw)+string(rec.Body)+string(rec.Internal), "secret") {
			t.Errorf("%s: the protected settings show", what)
		}
	}
	check("after PUT")
	patch := func(body string) {
		t.Helper()
		if err := e.TryPatch(typestest.Extension, body); err != nil {
			t.Fatal(err)
		}
		want.Generation++
	}
	patch(`{"properties":{"configurationSettings":{"nodeSelector.b":2}}}`)
	want.Settings["nodeSelector.b"] = "2"
	check("settings are merged, protected ones stay")
	patch(`{"properties":{"configurationProtectedSettings":{"relayServerConnectionString":"secret2"}}}`)
	want.ProtectedSettings = map[string]string{"relayServerConnectionString": "secret2"}
	check("protected settings are replaced as a whole")
	patch(`{"properties":{"configurationSettings":{"openshift":true}}}`)
	patch(`{"properties":{"configurationSettings":{"openshift":null}}}`)
	check("null removes a setting")
	refused(t, e.TryPatch(typestest.Extension, `{"properties":{"configurationSettings":{"nodeSelector.b":null}}}`),
		"properties.configurationSettings.nodeSelector.b", "Update operation can't remove an existed node selector, but can update or add new ones.")
	patch(`{"properties":{"configurationProtectedSettings":""}}`)
	want.ProtectedSettings = nil
	check("an empty text is how templates say that there are none")
	patch(`{"properties":{"autoUpgradeMinorVersion":false,"version":"0.1.0"}}`)
	want.Pinned, want.Version = true, "0.1.0"
	check("a version that is pinned")
	patch(`{"properties":{"autoUpgradeMinorVersion":true,"version":null}}`)
	want.Pinned, want.Version = false, ""
	check("a version that is not")
	if got := e.Prop(typestest.Extension, "provisioningState"); got != "Updating" {
		t.Errorf("provisioningState %v", got)
	}
}

// TestExtensionDeletedByForce: the record goes at once, in use or not, and the cluster is told to uninstall when it is back.
func TestExtensionDeletedByForce(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	refused(t, e.TryDelete(typestest.Extension, false), "", "Extension arcml is used by compute k8s")
	e.Observe("extension/arcml", link.ExtensionStatus{State: link.ExtensionInstalled})
	if err := e.TryDelete(typestest.Extension, true); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Store.Get(e.Ctx, strings.ToLower(typestest.Extension)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the record: %v", err)
	}
	if _, err := e.Store.Observed(e.Ctx, strings.ToLower(typestest.Cluster), "extension/arcml"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what the cluster said: %v", err)
	}
	if e.Desired("extension/arcml", &link.Extension{}) {
		t.Error("the cluster is still told to have it")
	}
}

// TestExtensionStoredSettings: a setting that this release does not know, accepted by an earlier one, is in nobody's way while it
// stays as it is.
func TestExtensionStoredSettings(t *testing.T) {
	e := typestest.New(t)
	e.Base()
	e.Put(typestest.Cluster, typestest.ClusterBody())
	e.Put(typestest.Extension, typestest.ExtensionBody)
	e.Set(typestest.Extension, map[string]any{"configurationSettings": map[string]any{"enableTraining": "True", "older.setting": "x"}})
	if err := e.TryPatch(typestest.Extension, `{"properties":{"configurationSettings":{"logAnalyticsWS":"True"}}}`); err != nil {
		t.Fatal(err)
	}
	refused(t, e.TryPatch(typestest.Extension, `{"properties":{"configurationSettings":{"older.setting":"y"}}}`), "properties.configurationSettings.older.setting", "is not a setting")
	refused(t, e.TryPatch(typestest.Extension, `{"properties":{"configurationSettings":{"other.setting":"x"}}}`), "properties.configurationSettings.other.setting", "is not a setting")
	if err := e.TryPatch(typestest.Extension, `{"properties":{"configurationSettings":{"older.setting":null}}}`); err != nil {
		t.Fatal(err)
	}
	refused(t, e.TryPatch(typestest.Extension, `{"properties":{"configurationSettings":{"older.setting":"x"}}}`), "properties.configurationSettings.older.setting", "is not a setting")
}

// TestExtensionInUse: a feature that is used is not switched off, and the refusal names what uses it.
func TestExtensionInUse(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	off := func(setting string) error {
		return e.TryPatch(typestest.Extension, `{"properties":{"configurationSettings":{"`+setting+`":"False"}}}`)
	}
	wants := func(err error, text string) {
		t.Helper()
		var ae *arm.Error
		if !errors.As(err, &ae) || ae.Status != 409 || ae.Code != "ResourceInUse" || !strings.Contains(ae.Message, text) {
			t.Errorf("error %v, want %q", err, text)
		}
	}
	wants(off("enableInference"), "enableInference is set to False, but cluster edge has online endpoint digits of workspace lab; delete it first")
	if err := e.TryDelete(typestest.Endpoint, true); err != nil {
		t.Fatal(err)
	}
	job := typestest.Workspace + "/jobs/j"
	e.Put(job, typestest.JobBody)
	err := e.Store.Update(e.Ctx, func(tx store.Tx) error {
		return tx.PutDesired(e.Ctx, strings.ToLower(typestest.Cluster), link.PrefixJob+"0123", []byte(`{"resource":"`+job+`"}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	wants(off("enableTraining"), "cluster edge has job j of workspace lab; let it end")
	e.Set(job, map[string]any{"status": "Completed"})
	if err := off("enableTraining"); err != nil {
		t.Error(err)
	}
	e.Set(typestest.Extension, map[string]any{"configurationSettings": map[string]any{"enableTraining": "True", "enableInference": "True", "allowInsecureConnections": "True"}})
	if err := off("enableInference"); err != nil {
		t.Error(err)
	}
}
