package agent

import (
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
)

const (
	// assertionLife is how long a client assertion is valid.
	assertionLife = 5 * time.Minute
	// tokenTimeout bounds one request for a token.
	tokenTimeout = 30 * time.Second
	// assertionType is the reference's (RFC 7523) name of a signed assertion.
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// Token is a bearer token and when it ends.
type Token struct {
	Value   string
	Expires time.Time
	// Renew is when half of its life is over.
	Renew time.Time
}

// Issuer gets tokens for the cluster by proving possession of its private key (private_key_jwt).
type Issuer struct {
	clientID string
	url      string
	endpoint string
	signer   jose.Signer
	http     *http.Client
	clock    func() time.Time

	mu     sync.Mutex
	cached Token
}

// NewIssuer makes an Issuer. ca may be empty; proxies are taken from the environment. clock nil means time.Now.
func NewIssuer(endpoint, tenant, clusterID string, key *rsa.PrivateKey, ca []byte, clock func() time.Time) (*Issuer, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if len(ca) > 0 {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(ca) {
			return nil, errors.New("the CA bundle holds no PEM certificate")
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("preparing to sign with the cluster's key: %w", err)
	}
	if clock == nil {
		clock = time.Now
	}
	endpoint = strings.TrimSuffix(endpoint, "/")
	return &Issuer{
		clientID: clusterID, endpoint: endpoint, url: fmt.Sprintf("%s/%s/oauth2/v2.0/token", endpoint, url.PathEscape(tenant)),
		signer: signer, http: &http.Client{Transport: transport, Timeout: tokenTimeout}, clock: clock,
	}, nil
}

// Token returns the agent's own token, a new one when half of the last one's life is over.
func (i *Issuer) Token(ctx context.Context) (string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.clock()
	if now.Before(i.cached.Renew) {
		return i.cached.Value, nil
	}
	token, err := i.Fetch(ctx, i.endpoint+"/.default")
	switch {
	case err == nil:
		i.cached = token
	case now.Before(i.cached.Expires.Add(-time.Minute)):
		return i.cached.Value, nil // still good; the next call tries again
	default:
		return "", err
	}
	return token.Value, nil
}

// Forget drops a token that the control plane refused, as it does when the key that signed it is gone. It reports whether it
// was still the agent's.
func (i *Issuer) Forget(token string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.cached.Value != token {
		return false
	}
	i.cached = Token{}
	return true
}

// Fetch gets a new token of a scope.
func (i *Issuer) Fetch(ctx context.Context, scope string) (Token, error) {
	assertion, err := i.assertion()
	if err != nil {
		return Token{}, err
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {i.clientID}, "scope": {scope},
		"client_assertion_type": {assertionType}, "client_assertion": {assertion},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, i.url, strings.NewReader(form.Encode()))
	if err != nil {
		return Token{}, fmt.Errorf("asking for a token: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := i.http.Do(req)
	if err != nil {
		return Token{}, fmt.Errorf("asking for a token: %w", err)
	}
	defer res.Body.Close()
	return i.read(res)
}

// Reach asks the control plane for any answer, and says how far its clock is ahead.
func (i *Issuer) Reach(ctx context.Context) (ahead time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, i.endpoint+"/healthz", nil)
	if err != nil {
		return 0, fmt.Errorf("reaching the control plane: %w", err)
	}
	res, err := i.http.Do(req)
	if err != nil {
		return 0, err // says address and reason
	}
	defer res.Body.Close()
	now, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		return 0, nil // an answer without a clock is one, too
	}
	return now.Sub(i.clock()), nil
}

func (i *Issuer) assertion() (string, error) {
	now := i.clock()
	text, err := jwt.Signed(i.signer).Claims(jwt.Claims{
		Issuer: i.clientID, Subject: i.clientID, Audience: jwt.Audience{i.url}, ID: uuid.NewString(),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(assertionLife)),
	}).Serialize()
	if err != nil {
		return "", fmt.Errorf("signing with the cluster's key: %w", err)
	}
	return text, nil
}

func (i *Issuer) read(res *http.Response) (Token, error) {
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return Token{}, fmt.Errorf("asking for a token: %w", err)
	}
	var answer struct {
		AccessToken string      `json:"access_token"`
		ExpiresIn   json.Number `json:"expires_in"`
		Error       string      `json:"error"`
		Description string      `json:"error_description"`
	}
	err = json.Unmarshal(body, &answer)
	if res.StatusCode != http.StatusOK {
		return Token{}, fmt.Errorf("asking for a token: %s answered %s: %s %s", i.url, res.Status, answer.Error, answer.Description)
	}
	if err != nil {
		return Token{}, fmt.Errorf("reading a token: %w", err)
	}
	life, err := answer.ExpiresIn.Int64()
	if err != nil || life <= 0 || answer.AccessToken == "" {
		return Token{}, fmt.Errorf("reading a token: %s answered without access_token or with expires_in %q", i.url, answer.ExpiresIn)
	}
	now := i.clock()
	return Token{
		Value: answer.AccessToken, Expires: now.Add(time.Duration(life) * time.Second), Renew: now.Add(time.Duration(life) * time.Second / 2),
	}, nil
}

// ParseKey reads the PEM of an RSA private key (PKCS #8 or PKCS #1).
func ParseKey(data []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("the private key is not PEM")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the private key: neither PKCS #8 nor PKCS #1")
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the private key is %T; RSA is needed", parsed)
	}
	return key, nil
}
