package conformance

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/uuid"

	"fairlead.dev/fairlead/internal/testing/serverproc"
)

var update = flag.Bool("update", false, "write what clients can do to testdata/results.json and docs/clients.md")

// program builds fairlead for this run.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "conformance-")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "fairlead")
	if out, err := exec.Command("go", "build", "-o", file, "../../cmd/fairlead").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building fairlead: %w\n%s", err, out)
	}
	return file, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built {
		file, _ := program()
		_ = os.RemoveAll(filepath.Dir(file))
	}
	os.Exit(code)
}

// built says that a test asked for the program.
var built bool

// lab is a control plane with a resource group and a connected cluster in it.
type lab struct {
	*serverproc.Server
	group, cluster string
	// app is the client id of a principal whose certificate and key are in certFile.
	app, certFile string
}

const (
	groupName   = "conformance"
	clusterName = "edge"
)

// newLab starts one, as localhost: names below it, which storage accounts have, reach this machine.
func newLab(t *testing.T) *lab {
	t.Helper()
	built = true
	file, err := program()
	if err != nil {
		t.Fatal(err)
	}
	s := serverproc.Start(t, serverproc.Config{Program: file, Host: "localhost", Conns: 2})
	l := &lab{Server: s, group: "/subscriptions/" + s.SubscriptionID + "/resourceGroups/" + groupName}
	l.cluster = l.group + "/providers/Microsoft.Kubernetes/connectedClusters/" + clusterName
	if _, err := s.Do(t.Context(), http.MethodPut, l.group+serverproc.APIVersion, `{"location":"local"}`); err != nil {
		t.Fatal(err)
	}
	s.PlayCluster(t, l.cluster)
	return l
}

// withCertificate makes a service principal that logs in with a certificate.
func (l *lab) withCertificate(t *testing.T) *lab {
	t.Helper()
	file, err := program()
	if err != nil {
		t.Fatal(err)
	}
	l.certFile = filepath.Join(t.TempDir(), "app.pem")
	add := exec.Command(file, "server", "principals", "add", "app", "--create-cert", l.certFile, "--data-dir", l.Dir)
	add.Stderr = os.Stderr
	raw, err := add.Output()
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ AppID, ObjectID string }
	if err := json.Unmarshal(raw, &made); err != nil {
		t.Fatal(err)
	}
	l.app = made.AppID
	l.mayContribute(t, made.ObjectID, "ServicePrincipal")
	return l
}

// mayContribute gives a principal a role on the subscription.
func (l *lab) mayContribute(t *testing.T, objectID, kind string) {
	t.Helper()
	role := "/subscriptions/" + l.SubscriptionID + "/providers/Microsoft.Authorization/roleAssignments/" + uuid.NewString()
	body := fmt.Sprintf(`{"properties":{"principalId":%q,"principalType":%q,"roleDefinitionId":"/subscriptions/%s/providers/Microsoft.Authorization/roleDefinitions/%s"}}`,
		objectID, kind, l.SubscriptionID, contributorRole)
	if _, err := l.Do(t.Context(), http.MethodPut, role+serverproc.APIVersion, body); err != nil {
		t.Fatal(err)
	}
}

// withWorkspace installs the extension, as computes need it, and makes a workspace.
func (l *lab) withWorkspace(t *testing.T, name string) *lab {
	t.Helper()
	ws := l.group + "/providers/Microsoft.MachineLearningServices/workspaces/" + name
	if _, err := l.Do(t.Context(), http.MethodPut, ws+serverproc.APIVersion, `{"location":"local","properties":{}}`); err != nil {
		t.Fatal(err)
	}
	ext := l.cluster + "/providers/Microsoft.KubernetesConfiguration/extensions/ml"
	if _, err := l.Do(t.Context(), http.MethodPut, ext+serverproc.APIVersion,
		`{"properties":{"extensionType":"Microsoft.AzureML.Kubernetes","configurationSettings":{"enableTraining":"True"}}}`); err != nil {
		t.Fatal(err)
	}
	l.Await(t, ext)
	return l
}

// env is what clients are told.
func (l *lab) env() []string {
	return append(clientEnv(l.Base, l.CAFile, l.TenantID, l.SubscriptionID, l.ClientID, l.ClientSecret), "APP_CLIENT_ID="+l.app, "APP_CERTIFICATE="+l.certFile)
}

// clientEnv has the names that clients' own documentation has.
func clientEnv(endpoint, ca, tenant, subscription, client, secret string) []string {
	return append(os.Environ(),
		"AZURE_TENANT_ID="+tenant, "AZURE_CLIENT_ID="+client, "AZURE_CLIENT_SECRET="+secret, "AZURE_SUBSCRIPTION_ID="+subscription,
		"AZURE_AUTHORITY_HOST="+endpoint, "ARM_CLOUD_METADATA_URL="+endpoint+"/metadata/endpoints?api-version=2019-05-01",
		"REQUESTS_CA_BUNDLE="+ca, "SSL_CERT_FILE="+ca, "NODE_EXTRA_CA_CERTS="+ca,
		"FAIRLEAD_ENDPOINT="+endpoint, "CONFORMANCE_GROUP="+groupName, "CONFORMANCE_CLUSTER="+clusterName,
		"PERSON_NAME="+adaName, "PERSON_PASSWORD="+adaPassword,
	)
}

// account is where a workspace's default datastore keeps its blobs.
func (l *lab) account(t *testing.T, workspace string) (account, container string) {
	t.Helper()
	raw, err := l.Do(t.Context(), http.MethodGet, l.group+"/providers/Microsoft.MachineLearningServices/workspaces/"+workspace+"/datastores/workspaceblobstore"+serverproc.APIVersion, "")
	if err != nil {
		t.Fatal(err)
	}
	var ds struct {
		Properties struct{ AccountName, ContainerName string }
	}
	if err := json.Unmarshal(raw, &ds); err != nil {
		t.Fatal(err)
	}
	return ds.Properties.AccountName, ds.Properties.ContainerName
}
