package cli

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	// invokeTimeout is more than an endpoint may take.
	invokeTimeout = 10 * time.Minute
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 256 << 20
)

type invokeFlags struct {
	request, deployment, contentType, ca string
	local                                bool
}

func (a *app) endpointInvoke() *cobra.Command {
	var f invokeFlags
	c := &cobra.Command{Use: "invoke", Short: "Send a request to an endpoint and print the answer",
		Example: "  fairlead ml online-endpoint invoke -n digits --request-file digits.json -g G -w W\n  fairlead ml online-endpoint invoke -n digits --request-file digits.json --deployment-name green -g G -w W"}
	fs := c.Flags()
	fs.StringVarP(&f.request, "request-file", "r", "", "`file` whose content is sent (- is standard input)")
	fs.StringVarP(&f.deployment, "deployment-name", "d", "", "`name` of the deployment that shall answer, whatever the traffic is")
	fs.StringVar(&f.contentType, "content-type", "application/json", "`type` of the content")
	fs.StringVar(&f.ca, "ca-file", "", "PEM `file` that verifies the endpoint's certificate (default: the system's)")
	_ = c.MarkFlagFilename("request-file")
	addLocal(c, &f.local)
	return a.about(endpointKind.one, c, func(ctx context.Context, p place) error {
		if err := errors.Join(refuseLocal(f.local), require(need{"--request-file/-r", f.request})); err != nil {
			return err
		}
		return a.invoke(ctx, p, f)
	})
}

func (a *app) invoke(ctx context.Context, p place, f invokeFlags) error {
	body, err := a.requestBody(f.request)
	if err != nil {
		return err
	}
	got, err := p.get(ctx, p.path, apiML)
	if err != nil {
		return err
	}
	uri := text(got, "properties", "scoringUri")
	if uri == "" {
		return hint(fmt.Errorf("endpoint %s has no address yet", p.name), "The cluster has not said where its inference router is: look at Service azureml-fe in the extension's namespace (kubectl get svc -n azureml).")
	}
	secret, err := p.credentials(ctx, p.path)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, uri, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", f.contentType)
	req.Header.Set("Authorization", "Bearer "+cmp.Or(text(secret, "primaryKey"), text(secret, "accessToken")))
	if f.deployment != "" {
		req.Header.Set("azureml-model-deployment", f.deployment)
	}
	client, err := invokeClient(f.ca)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return hint(fmt.Errorf("calling endpoint %s: %w", p.name, err), "%s must be reachable from here; inside the cluster only, where the router's Service is a ClusterIP.", uri)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the answer of endpoint %s: %w", p.name, err)
	}
	if res.StatusCode >= 300 {
		return hint(fmt.Errorf("endpoint %s answered %s: %s", p.name, res.Status, strings.TrimSpace(string(answer))), "Logs: fairlead ml online-deployment get-logs --endpoint-name %s --name <deployment>", p.name)
	}
	if _, err := a.deps.Stdout.Write(answer); err == nil && !bytes.HasSuffix(answer, []byte("\n")) {
		fmt.Fprintln(a.deps.Stdout)
	}
	return nil
}

func (a *app) requestBody(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(a.deps.Stdin)
	}
	body, err := os.ReadFile(file)
	if err != nil {
		return nil, usagef("argument --request-file/-r: %v", err)
	}
	return body, nil
}

// invokeClient follows no redirection: the key is for the endpoint alone.
func invokeClient(ca string) (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, usagef("argument --ca-file: %v", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, usagef("argument --ca-file: %s holds no PEM certificate", ca)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &http.Client{Transport: t, Timeout: invokeTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}
