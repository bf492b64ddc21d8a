package machinelearning

// APIVersion is the api-version that this project's own clients send.
const APIVersion = "2024-10-01"

// APIVersions are advertised for every type of the namespace, newest first.
var APIVersions = []string{APIVersion, "2024-07-01-preview", "2024-04-01", "2024-01-01-preview", "2023-10-01", "2023-08-01-preview",
	"2023-04-01-preview", "2023-04-01", "2022-12-01-preview", "2022-10-01-preview", "2022-10-01", "2022-05-01", "2022-02-01-preview"}
