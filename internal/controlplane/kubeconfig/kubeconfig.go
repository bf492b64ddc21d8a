// Package kubeconfig takes kubeconfigs from people. One that is accepted reaches one API server over verified TLS with credentials
// that it holds itself: it names no file, no program and no proxy, which would be those of the control plane's machine.
package kubeconfig

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// MaxBytes bounds a kubeconfig.
const MaxBytes = 256 << 10

// Checked is a kubeconfig that was accepted.
type Checked struct {
	// Text is its current context and no more; Server the API server's address.
	Text   []byte
	Server string
}

// Host is the API server's host, with its port where that is not 443.
func (c Checked) Host() string {
	u, err := url.Parse(c.Server)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(u.Host, ":443")
}

// Parse checks a kubeconfig, as YAML or base64 of it. Errors complete a sentence that begins with its name and hold no secret.
func Parse(text string) (Checked, error) {
	if len(text) > MaxBytes {
		return Checked{}, fmt.Errorf("has %d bytes; at most %d are taken", len(text), MaxBytes)
	}
	raw := []byte(text)
	if dec, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err == nil && len(dec) > 0 {
		raw = dec
	}
	c, err := clientcmd.Load(raw)
	if err != nil {
		return Checked{}, errors.New("is not a kubeconfig in YAML, nor base64 of one") // the cause may quote it
	}
	ctx, ok := c.Contexts[c.CurrentContext]
	if !ok || ctx == nil {
		return Checked{}, fmt.Errorf("has no context %q, which its current-context names; set one with 'kubectl config use-context'", c.CurrentContext)
	}
	cluster, user := c.Clusters[ctx.Cluster], c.AuthInfos[ctx.AuthInfo]
	if cluster == nil || user == nil {
		return Checked{}, fmt.Errorf("has a context %q without its cluster %q or its user %q", c.CurrentContext, ctx.Cluster, ctx.AuthInfo)
	}
	if err := errors.Join(checkCluster(cluster), checkUser(user)); err != nil {
		return Checked{}, err
	}
	small := api.NewConfig()
	small.Clusters["cluster"] = &api.Cluster{Server: cluster.Server, TLSServerName: cluster.TLSServerName, CertificateAuthorityData: cluster.CertificateAuthorityData}
	small.AuthInfos["user"] = &api.AuthInfo{ClientCertificateData: user.ClientCertificateData, ClientKeyData: user.ClientKeyData, Token: user.Token,
		Username: user.Username, Password: user.Password}
	small.Contexts["context"] = &api.Context{Cluster: "cluster", AuthInfo: "user"}
	small.CurrentContext = "context"
	out, err := clientcmd.Write(*small)
	if err != nil {
		return Checked{}, errors.New("cannot be written again")
	}
	return Checked{Text: out, Server: cluster.Server}, nil
}

const flatten = "; 'fairlead aks create' puts files in, and so does 'kubectl config view --raw --flatten --minify'"

func checkCluster(c *api.Cluster) error {
	u, err := url.Parse(c.Server)
	switch {
	case err != nil || u.Host == "" || u.User != nil:
		return fmt.Errorf("has the server %q, which is no address such as https://kube.example.com:6443", c.Server)
	case u.Scheme != "https":
		return fmt.Errorf("has the server %q; only https is taken", c.Server)
	case c.InsecureSkipTLSVerify:
		return errors.New("has insecure-skip-tls-verify; give certificate-authority-data instead, so that the credentials go to nobody else")
	case c.CertificateAuthority != "":
		return fmt.Errorf("names the file %q; give certificate-authority-data%s", c.CertificateAuthority, flatten)
	case c.ProxyURL != "":
		return fmt.Errorf("has proxy-url %q; the control plane must reach the cluster itself", c.ProxyURL)
	}
	return nil
}

func checkUser(u *api.AuthInfo) error {
	switch {
	case u.Exec != nil:
		return fmt.Errorf("has credentials from the program %q, which does not run here; make a service account and put its token in: "+
			"kubectl create token fairlead --duration=8760h, after kubectl create serviceaccount fairlead and kubectl create clusterrolebinding fairlead --clusterrole=cluster-admin --serviceaccount=default:fairlead", u.Exec.Command)
	case u.AuthProvider != nil:
		return fmt.Errorf("has the auth-provider %q, which does not run here; put the token of a service account in", u.AuthProvider.Name)
	case u.ClientCertificate != "" || u.ClientKey != "" || u.TokenFile != "":
		return fmt.Errorf("names files (%s); give client-certificate-data, client-key-data or token%s", strings.Join(strings.Fields(u.ClientCertificate+" "+u.ClientKey+" "+u.TokenFile), ", "), flatten)
	case u.Impersonate != "" || u.ImpersonateUID != "" || len(u.ImpersonateGroups) > 0:
		return errors.New("impersonates somebody; give that user's own credentials")
	case u.Token == "" && len(u.ClientCertificateData) == 0 && u.Username == "":
		return errors.New("has no credentials: neither client-certificate-data nor token")
	}
	return nil
}
