package cli

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/client"
)

type restFlags struct {
	method, uri, body, outputFile string
	headers, params               []string
}

func (a *app) rest() *cobra.Command {
	var f restFlags
	c := a.leaf(&cobra.Command{
		Use: "rest", Short: "Call the control plane's REST API with the login's token",
		Long: `Call the control plane's REST API. --url is a path or an address; {subscriptionId} in it is replaced. The token is sent
to the control plane only.`,
		Example: `  fairlead rest --method get --url "/subscriptions/{subscriptionId}/resourcegroups?api-version=2021-04-01"
  fairlead rest --method put --url /subscriptions/{subscriptionId}/resourcegroups/G?api-version=2021-04-01 --body @group.json`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runRest(cmd, f) },
	})
	fs := c.Flags()
	fs.StringVarP(&f.method, "method", "m", "get", "HTTP `method`: delete, get, head, options, patch, post, put")
	fs.StringVarP(&f.uri, "url", "u", "", "path or `address`")
	fs.StringVar(&f.uri, "uri", "", "same as --url")
	fs.StringVarP(&f.body, "body", "b", "", "body, or @file")
	multiVar(fs, &f.headers, "headers", "space-separated `name=value` headers")
	multiVar(fs, &f.params, "uri-parameters", "space-separated `name=value` query parameters")
	multiVar(fs, &f.params, "url-parameters", "same as --uri-parameters")
	fs.StringVar(&f.outputFile, "output-file", "", "write the answer to this `file`")
	return c
}

func (a *app) runRest(cmd *cobra.Command, f restFlags) error {
	method := strings.ToUpper(f.method)
	if err := require(need{"--url/--uri/-u", f.uri}); err != nil {
		return err
	}
	if !slices.Contains([]string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}, method) {
		return usagef("argument --method/-m: invalid choice: %q (choose from delete, get, head, options, patch, post, put)", f.method)
	}
	s, err := a.connect()
	if err != nil {
		return err
	}
	req := client.Request{Method: method, Path: strings.ReplaceAll(f.uri, "{subscriptionId}", s.sub), Query: url.Values{}, Header: http.Header{}}
	if err := fillRest(&req, f); err != nil {
		return err
	}
	res, err := s.Do(cmd.Context(), req)
	if err != nil {
		return err
	}
	if f.outputFile != "" {
		return os.WriteFile(f.outputFile, res.Body, 0o644)
	}
	var v any
	if json.Unmarshal(res.Body, &v) != nil {
		_, err := a.deps.Stdout.Write(res.Body)
		return err
	}
	return a.print(v)
}

func fillRest(req *client.Request, f restFlags) error {
	headers, err := keyValues("--headers", f.headers)
	if err != nil {
		return err
	}
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	params, err := keyValues("--uri-parameters", f.params)
	if err != nil {
		return err
	}
	for k, v := range params {
		req.Query.Set(k, v)
	}
	switch {
	case strings.HasPrefix(f.body, "@"):
		data, err := os.ReadFile(f.body[1:])
		if err != nil {
			return usagef("argument --body/-b: %v", err)
		}
		req.Body = data
	case f.body != "":
		req.Body = []byte(f.body)
	}
	return nil
}
