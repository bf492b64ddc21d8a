package controlplane

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"testing"

	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
)

// TestAgentKeys: a managed cluster's agent is known by the newest key and by those that may still be its, newest first.
func TestAgentKeys(t *testing.T) {
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var keys []*rsa.PublicKey
	var texts []string
	for range 2 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, &key.PublicKey)
		texts = append(texts, base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&key.PublicKey)))
	}
	const id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c"
	internal, err := json.Marshal(types.ManagedInternal{FormerKeys: texts[1:]})
	if err != nil {
		t.Fatal(err)
	}
	rec := store.Record{Key: key(t, id), ID: id, Type: clusterstate.ManagedType, Name: "c", Body: []byte(`{"properties":{"agentPublicKeyCertificate":"` + texts[0] + `"}}`), Internal: internal}
	if err := st.Update(t.Context(), func(tx store.Tx) error { _, err := tx.Put(t.Context(), rec); return err }); err != nil {
		t.Fatal(err)
	}
	agent, err := agentKeys(st)(t.Context(), id)
	if err != nil || len(agent.Keys) != 2 || !keys[0].Equal(agent.Keys[0]) || !keys[1].Equal(agent.Keys[1]) {
		t.Errorf("%d keys, %v", len(agent.Keys), err)
	}
}

func key(t *testing.T, id string) string {
	t.Helper()
	key, err := clusterstate.Key(id)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
