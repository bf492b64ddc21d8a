// Command azuretoken asks for a token as a user's program in a pod does: DefaultAzureCredential of Azure's library, with nothing but the
// variables of its surroundings. `azuretoken <scope> [<client id>]` prints the token; with GET_URL it prints instead what a GET of that
// address answers with the token.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "azuretoken:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return fmt.Errorf("usage: azuretoken <scope> [<client id>]")
	}
	cred, err := credential(args[1:])
	if err != nil {
		return err
	}
	token, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: args[:1]})
	if err != nil {
		return err
	}
	address := os.Getenv("GET_URL")
	if address == "" {
		fmt.Println(token.Token)
		return nil
	}
	return get(ctx, address, token.Token)
}

func credential(client []string) (azcore.TokenCredential, error) {
	if len(client) == 1 {
		return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(client[0])})
	}
	return azidentity.NewDefaultAzureCredential(nil)
}

// get prints the status and the body of an answer, whatever it is.
func get(ctx context.Context, address, token string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return fmt.Errorf("making request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}
