package connect

import (
	"context"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// accountTokenSeconds is how long a token of the account is asked to live.
const accountTokenSeconds = 3600

// AccountToken gives tokens of a service account other than the process's own, a new one when half of the last one's life is over.
// What a mistake in this package could reach is then what that account may do, not what the agent may.
func AccountToken(kube kubernetes.Interface, namespace, name string) func(ctx context.Context) (string, error) {
	var mu sync.Mutex
	var token string
	var renew time.Time
	return func(ctx context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if time.Now().Before(renew) {
			return token, nil
		}
		seconds := int64(accountTokenSeconds)
		got, err := kube.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name,
			&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
		if err != nil {
			return "", fmt.Errorf("asking for a token of service account %s/%s: %w", namespace, name, err)
		}
		token = got.Status.Token
		renew = time.Now().Add(time.Until(got.Status.ExpirationTimestamp.Time) / 2)
		return token, nil
	}
}
