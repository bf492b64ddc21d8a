package server

import (
	"net/http"
	"strings"
)

// cloudName is the name of this cloud in the metadata; users register it under any name they like.
const cloudName = "Fairlead"

// serveMetadata is the cloud metadata, in the three shapes that clients know: of 2015 for Azure Stack's, an array for those
// of 2018 to 2021, one object since 2022.
func (s *server) serveMetadata(w http.ResponseWriter, r *http.Request) error {
	if err := allow(r, http.MethodGet, http.MethodHead); err != nil {
		return err
	}
	q, err := readQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	v := q["api-version"]
	switch {
	case v != "" && v < "2018":
		return s.json(w, http.StatusOK, map[string]any{
			"galleryEndpoint": s.cfg.PublicURL, "graphEndpoint": s.cfg.PublicURL, "portalEndpoint": s.cfg.PublicURL,
			"authentication": map[string]any{"loginEndpoint": s.cfg.PublicURL, "audiences": s.audiences()},
		})
	case v != "" && v < "2022":
		return s.json(w, http.StatusOK, []any{s.metadata()})
	}
	m := s.metadata()
	m["resourceIdentifiers"] = map[string]any{"media": s.cfg.PublicURL, "batch": s.cfg.PublicURL, "storage": s.cfg.PublicURL}
	m["dataplaneEndpoints"] = map[string]any{"arcConfigEndpoint": s.cfg.PublicURL, "arcHybridIdentityServiceEndpoint": s.cfg.PublicURL,
		"arcGlobalNotificationServiceEndpoint": s.cfg.PublicURL}
	return s.json(w, http.StatusOK, m)
}

func (s *server) audiences() []string { return []string{s.cfg.PublicURL + "/", s.cfg.PublicURL} }

func (s *server) metadata() map[string]any {
	host := s.base.Host
	url := s.cfg.PublicURL
	return map[string]any{
		"name": cloudName, "portal": url, "resourceManager": url + "/",
		"authentication": map[string]any{"loginEndpoint": url + "/", "audiences": s.audiences(), "tenant": s.cfg.TenantID, "identityProvider": "AAD"},
		"graph":          url + "/", "graphAudience": url + "/", "microsoftGraphResourceId": url + "/",
		"media": url, "batch": url, "gallery": url + "/", "sqlManagement": url, "vmImageAliasDoc": url, "activeDirectoryDataLake": url,
		"suffixes": map[string]any{"storage": s.cfg.StorageSuffix, "storageSyncEndpointSuffix": host, "acrLoginServer": host, "keyVaultDns": "." + strings.TrimPrefix(host, "."),
			"sqlServerHostname": host, "azureFrontDoorEndpointSuffix": host, "relayEndpointSuffix": host},
	}
}
