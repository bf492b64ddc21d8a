package commonruntime

// Paths and names inside a pod of an online deployment.
const (
	// AppRoot is the reference's folder of what is served: code is in CodeDir, models below ModelsDir by name and version.
	AppRoot   = "/var/azureml-app"
	CodeDir   = AppRoot + "/code"
	ModelsDir = AppRoot + "/azureml-models"
	// CacheDir is the node's cache of models, a volume of the CSI driver, for the pods of one namespace.
	CacheDir = "/fairlead/models"
	// ServerFile is our scoring server, for images that have not the ecosystem's.
	ServerFile = "inference_server.py"
	// StorageEnv is the environment variable with the Storage document.
	StorageEnv = "FAIRLEAD_STORAGE"
	// IdentityEnv is the environment variable with the IdentitySidecar document, IdentitySecretEnv that with what askers must send.
	IdentityEnv       = "FAIRLEAD_IDENTITY"
	IdentitySecretEnv = "IDENTITY_HEADER"
	// IdentityDir has the files of the identity-sidecar: IdentityToken is the deployment's own token, IdentityProof that of the pod's service
	// account by which the identity proxy knows it.
	IdentityDir   = "/fairlead/identity"
	IdentityToken = "token"
	IdentityProof = "proof"
	// ServingPort is where the scoring server answers.
	ServingPort = 5001
)

// ModelCacheAttribute of a volume of the CSI driver asks for the namespace's cache of models; its value is "true".
const ModelCacheAttribute = "modelCache"

// Storage is what the storage-initializer of a pod brings before the pod serves.
type Storage struct {
	// BlobBase is the URL prefix below which the token of TokenPath is sent along, CA the PEM that verifies it (empty: public CAs).
	BlobBase string `json:"blobBase,omitempty"`
	CA       string `json:"ca,omitempty"`
	Model    *Fetch `json:"model,omitempty"`
	Code     *Fetch `json:"code,omitempty"`
	// Cache is the folder of the node's cache of models; empty when there is none.
	Cache string `json:"cache,omitempty"`
	// Server asks for the scoring server in BinDir.
	Server bool `json:"server,omitempty"`
}

// IdentitySidecar is what the identity-sidecar of a pod needs to give tokens of the deployment's managed identity, at IdentityAddress.
type IdentitySidecar struct {
	Identity Identity `json:"identity"`
	// CA is the PEM that verifies the control plane (empty: public CAs), Proxy the URL of the identity proxy, which leads there.
	CA    string `json:"ca,omitempty"`
	Proxy string `json:"proxy"`
}

// Fetch brings a folder (URL ending in /) or a file into a folder of the pod. A model keeps the last name of its URL there; of code what is
// in the folder comes.
type Fetch struct {
	URL string `json:"url"`
	Dir string `json:"dir"`
}

// Codes of Result in pods of online deployments, besides those of jobs: the reference's words where it has one.
const (
	CodeScriptInit     = "UserScriptInitFailed"
	CodeScriptImport   = "UserScriptImportError"
	CodeScriptFunction = "UserScriptFunctionNotFound"
	CodeFetchFailed    = "FetchFailed"
	CodeServerMissing  = "ServerMissing"
	CodeServerEnded    = "ServerEnded"
)
