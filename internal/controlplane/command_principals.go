package controlplane

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/controlplane/authz"
	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// principalsCommand is "fairlead server principals": programs that may log in.
func principalsCommand() *cobra.Command {
	var b besides
	c := &cobra.Command{
		Use: "principals", Short: "Say which programs may log in, as service principals",
		Long: "Say which programs may log in, as service principals. The commands work on the server's store; servers that run heed them at once.",
	}
	b.bind(c.PersistentFlags())
	c.AddCommand(principalsAdd(&b), principalsList(&b), principalsReset(&b), principalsRemove(&b))
	return c
}

// proof is what a new credential is made of.
type proof struct {
	cert, createCert string
	days             int
}

func (p *proof) bind(c *cobra.Command) {
	c.Flags().StringVar(&p.cert, "cert", "", "PEM `file` of a certificate that the program has the key of, in place of a secret")
	c.Flags().StringVar(&p.createCert, "create-cert", "", "make a certificate, in place of a secret, and write it with its key to this `file`")
	c.Flags().IntVar(&p.days, "days", 365, "for how many days the secret or the certificate that is made is good")
}

// made is a new credential, and what is told of it.
type made struct {
	issuer.Credential
	secret, file string
}

// make makes the credential of a principal.
func (p *proof) make(name string, now time.Time) (m made, err error) {
	ends := now.AddDate(0, 0, p.days)
	switch {
	case p.cert != "" && p.createCert != "":
		return m, errors.New("--cert and --create-cert contradict each other; give one")
	case p.days < 1 || p.days > 3650:
		return m, fmt.Errorf("--days %d: want 1 to 3650", p.days)
	case p.cert != "":
		var text []byte
		if text, err = os.ReadFile(p.cert); err == nil {
			m.Credential, err = issuer.CertificateCredential(string(text), now)
		}
		if err != nil {
			err = fmt.Errorf("--cert %s: %w", p.cert, err)
		}
	case p.createCert != "":
		if m.file, err = filepath.Abs(p.createCert); err != nil {
			return m, err
		}
		var text []byte
		if text, err = writeCertificate(m.file, name, now, ends); err == nil {
			m.Credential, err = issuer.CertificateCredential(string(text), now)
		}
		if err != nil {
			err = fmt.Errorf("--create-cert %s: %w", p.createCert, err)
		}
	default:
		if m.secret, err = issuer.NewSecret(); err == nil {
			m.Credential, err = issuer.SecretCredential(m.secret, now, ends)
		}
	}
	return m, err
}

// writeCertificate makes a key and a certificate that it signs itself, in a new file that only its owner reads.
func writeCertificate(file, name string, now, ends time.Time) ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		return nil, err
	}
	subject := pkix.Name{CommonName: name[:min(len(name), 64)]}
	cert, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: serial, Subject: subject, NotBefore: now.Add(-issuer.Leeway), NotAfter: ends,
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true}, &x509.Certificate{Subject: subject}, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), text...))
	return text, errors.Join(err, f.Sync(), f.Close())
}

// tell prints what a program needs to log in, by the names that Azure CLI has for it. A secret is told this once.
func (m made) tell(cmd *cobra.Command, tenantID string, sp issuer.ServicePrincipal) error {
	out := struct {
		AppID       string `json:"appId"`
		DisplayName string `json:"displayName"`
		ObjectID    string `json:"objectId"`
		Password    string `json:"password,omitempty"`
		File        string `json:"fileWithCertAndPrivateKey,omitempty"`
		Tenant      string `json:"tenant"`
	}{sp.ClientID, sp.DisplayName, sp.ObjectID, m.secret, m.file, tenantID}
	raw, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the credentials: %w", err)
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), string(raw))
	return err
}

func (b *besides) update(ctx context.Context, fn func(store.Tx) error) error {
	return b.with(ctx, func(st store.Store, _ *seal.Box) error { return st.Update(ctx, fn) })
}

func principalsAdd(b *besides) *cobra.Command {
	var p proof
	c := &cobra.Command{
		Use: "add NAME", Short: "Add a service principal", Args: cobra.ExactArgs(1), SilenceUsage: true,
		Long: `Add a service principal, and print what it logs in with: its client id (appId) and a secret (password), which is told this once, or a
certificate. Roles are assigned to its object id.`,
		Example: `  fairlead server principals add trainer
  fairlead server principals add trainer --create-cert trainer.pem
  fairlead server principals add trainer --cert public.pem`,
		RunE: func(cmd *cobra.Command, args []string) error {
			sp, err := p.give(cmd, b, args[0], func(tx store.Tx, c issuer.Credential, now time.Time) (issuer.ServicePrincipal, error) {
				return issuer.CreateServicePrincipal(cmd.Context(), tx, issuer.ServicePrincipal{DisplayName: args[0], Credentials: []issuer.Credential{c}}, now)
			})
			if err == nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s can log in. To let it do something: fairlead role assignment create --role Contributor --assignee %s -g GROUP\n", sp.DisplayName, sp.ObjectID)
			}
			return err
		},
	}
	p.bind(c)
	return c
}

// give makes a credential, stores it by change and tells of it. Without a server's store no file is written, and a file whose
// certificate was not stored is removed.
func (p *proof) give(cmd *cobra.Command, b *besides, name string, change func(store.Tx, issuer.Credential, time.Time) (issuer.ServicePrincipal, error)) (sp issuer.ServicePrincipal, err error) {
	err = b.with(cmd.Context(), func(st store.Store, _ *seal.Box) error {
		t, err := readTenant(cmd.Context(), st)
		if err != nil {
			return err
		}
		now := time.Now()
		m, err := p.make(name, now)
		if err != nil {
			return err
		}
		err = st.Update(cmd.Context(), func(tx store.Tx) (err error) {
			sp, err = change(tx, m.Credential, now)
			return err
		})
		if err != nil && m.file != "" {
			err = errors.Join(err, os.Remove(m.file))
		}
		if err != nil {
			return err
		}
		return m.tell(cmd, t.TenantID, sp)
	})
	return sp, err
}

func principalsReset(b *besides) *cobra.Command {
	var p proof
	keep := false
	c := &cobra.Command{
		Use: "reset NAME|CLIENT-ID", Short: "Give a service principal another secret or certificate", Args: cobra.ExactArgs(1), SilenceUsage: true,
		Long: `Give a service principal another secret or certificate, in place of all it has. With --append the others stay good: roll a secret by
adding one, giving it to the program, and removing the former (principals remove --credential).`,
		Example: `  fairlead server principals reset trainer
  fairlead server principals reset trainer --append --create-cert new.pem`,
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := p.give(cmd, b, args[0], func(tx store.Tx, made issuer.Credential, now time.Time) (issuer.ServicePrincipal, error) {
				return issuer.EditServicePrincipal(cmd.Context(), tx, args[0], now, func(sp *issuer.ServicePrincipal) error {
					sp.Credentials = append(slices.DeleteFunc(sp.Credentials, func(c issuer.Credential) bool { return !keep || c.Ended(now) }), made)
					return nil
				})
			})
			return err
		},
	}
	p.bind(c)
	c.Flags().BoolVar(&keep, "append", false, "keep the secrets and certificates that it has, but for those that have ended")
	return c
}

func principalsList(b *besides) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List service principals and how they prove themselves", Args: cobra.NoArgs, SilenceUsage: true, Example: "  fairlead server principals list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.with(cmd.Context(), func(st store.Store, _ *seal.Box) error {
				all, err := issuer.ServicePrincipals(cmd.Context(), st)
				if err != nil {
					return err
				}
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "Name\tClientId\tObjectId\tCredential\tKind\tHint\tEnds")
				for _, sp := range all {
					for _, c := range append(sp.Credentials, issuer.Credential{})[:max(1, len(sp.Credentials))] {
						ends := "never"
						if !c.Ends.IsZero() {
							ends = c.Ends.UTC().Format(time.RFC3339)
						}
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", sp.DisplayName, sp.ClientID, sp.ObjectID, c.ID, c.Kind, cmp.Or(c.Hint, "-"), ends)
					}
				}
				return w.Flush()
			})
		},
	}
}

func principalsRemove(b *besides) *cobra.Command {
	credential := ""
	c := &cobra.Command{
		Use: "remove NAME|CLIENT-ID", Short: "Remove a service principal, or one of its secrets and certificates", Args: cobra.ExactArgs(1), SilenceUsage: true,
		Long: `Remove a service principal with its role assignments, or one of its secrets and certificates. What it may do ends at once with it,
also by tokens that it has and by shared access signatures that it made; those that the server gave it end within 12 hours. What it made, such
as jobs, stays. With --credential logging in by that one ends at once; tokens that were got with it are good for an hour at most.`,
		Example: `  fairlead server principals remove trainer
  fairlead server principals remove trainer --credential 1b671a64-40d5-491e-99b0-da01ff1f3341`,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return b.update(ctx, func(tx store.Tx) error {
				if credential != "" {
					_, err := issuer.EditServicePrincipal(ctx, tx, args[0], time.Now(), func(sp *issuer.ServicePrincipal) error {
						i := slices.IndexFunc(sp.Credentials, func(c issuer.Credential) bool { return c.ID == credential })
						if i < 0 {
							return fmt.Errorf("%s has no credential %q; see: fairlead server principals list", sp.DisplayName, credential)
						}
						sp.Credentials = slices.Delete(sp.Credentials, i, i+1)
						return nil
					})
					return err
				}
				sp, err := issuer.RemoveServicePrincipal(ctx, tx, args[0])
				if err != nil {
					return err
				}
				switch root, err := authz.HasRoot(ctx, tx, sp.ObjectID); {
				case err != nil:
					return err
				case root:
					return fmt.Errorf("%s is the administrator, whom nobody could replace; to give it another secret: fairlead server principals reset %s", sp.DisplayName, sp.DisplayName)
				}
				return authz.Unassign(ctx, tx, sp.ObjectID)
			})
		},
	}
	c.Flags().StringVar(&credential, "credential", "", "`id` of the one secret or certificate to remove, as list shows it")
	return c
}
