package extensionsettings

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// Help lists the settings that people write, for the command line.
func Help() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, protected := range []bool{false, true} {
		if protected {
			fmt.Fprint(w, "\nProtected settings (--configuration-protected-settings, never shown again):\n")
		} else {
			fmt.Fprint(w, "Settings (--configuration-settings), with their defaults:\n")
		}
		for _, s := range Table {
			if s.Protected != protected || s.From&(Preview|GA|Own) == 0 {
				continue
			}
			fmt.Fprintf(w, "  %s\t%s\t%s\n", s.Name, s.Default, s.sentence())
		}
	}
	w.Flush()
	return b.String()
}

// sentence is the help with what follows from other columns of the table.
func (s Setting) sentence() string {
	out := s.Help
	if s.From == Preview {
		out += " Older form of " + s.stood() + "."
	}
	if s.Unused != "" && !s.Protected {
		out += " No effect here: " + s.Unused + "."
	}
	return out
}

// stood says what the setting stands for.
func (s Setting) stood() string {
	var parts []string
	for _, st := range s.Stands {
		name := st.name
		if st.value != "" {
			name += "=" + st.value
		}
		if st.when != "" && st.when != "True" {
			name += " (" + st.when + ")"
		}
		parts = append(parts, name)
	}
	return strings.Join(parts, ", ")
}

// Guide is the page of the users' guide.
func Guide() string {
	var b strings.Builder
	b.WriteString(guideHead)
	for _, part := range []struct {
		title, intro string
		from         Origin
		protected    bool
	}{
		{"Settings", "Of both vocabularies, that of the 2021 preview and its successor (GA), and a few that only Fairlead has.", Preview | GA | Own, false},
		{"Protected settings", "Encrypted at rest and never returned. An update that gives any of them replaces all of them.", Preview | GA | Own, true},
		{"Settings of the troubleshooting pages", "Accepted; the command line says so where one has no effect.", Troubleshooting, false},
		{"Settings that clients add by themselves", "`az`, templates and Terraform modules send them. They are accepted unmodified, and their values are never asked of a user.", Client, false},
		{"Protected settings that clients add by themselves", "", Client, true},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n", part.title)
		if part.intro != "" {
			fmt.Fprintf(&b, "%s\n\n", part.intro)
		}
		b.WriteString("| setting | known from | value | default | what it does | an update disturbs |\n|---|---|---|---|---|---|\n")
		for _, s := range Table {
			if s.From&part.from != 0 && s.Protected == part.protected {
				b.WriteString(s.line())
			}
		}
	}
	b.WriteString(guideFoot)
	return b.String()
}

// line is the setting's row of the guide.
func (s Setting) line() string {
	what := s.Help
	if s.Stands != nil {
		what += " Stands for " + s.stood() + "."
	}
	if s.Unused != "" {
		what += " No effect: " + s.Unused + "."
	}
	return fmt.Sprintf("| `%s` | %s | %s | %s | %s | %s |\n", s.Name, s.From, s.Kind.Name, s.Default, what, s.disturbed())
}

func (s Setting) disturbed() string {
	for _, st := range s.Stands {
		named, _ := find(st.name)
		s.Disturbs |= named.Disturbs
	}
	var who []string
	if s.Disturbs&Jobs != 0 {
		who = append(who, "jobs")
	}
	if s.Disturbs&Endpoints != 0 {
		who = append(who, "endpoints")
	}
	out := strings.Join(who, ", ")
	if s.OnlyOff {
		out += " (True to False)"
	}
	return out
}

const guideHead = `<!-- Written by ` + "`go generate ./internal/extensionsettings`" + ` from the table there. DO NOT EDIT. -->
# Settings of the extension

    fairlead k8s-extension create … --configuration-settings enableTraining=True nodeSelector.pool=ml \
      --configuration-protected-settings sslCertPemFile=cert.pem sslKeyPemFile=key.pem

` + "`--config` and `--config-protected` are short for the same; `--config-file` and `--config-protected-file` read a JSON object instead." + `
Values are texts; true and false are written in any case, and JSON's own are taken too. An empty value is as good as none. Settings are
checked by the command line before anything is sent, by the control plane, and by the agent in the cluster, which installs nothing
while one of them is wrong. A setting that is not on this page is refused.
`

const guideFoot = `
## What goes together

* ` + "`enableTraining` or `enableInference`" + ` must be True.
* HTTPS needs either ` + "`sslCertPemFile` and `sslKeyPemFile`, or `sslSecret` with `sslCname`" + `; without them ` + "`allowInsecureConnections=True`" + ` serves HTTP.
  The key must fit the certificate and have no passphrase, the certificate must be valid and for ` + "`sslCname`" + `.
* ` + "`inferenceRouterServiceType=nodePort` takes no `internalLoadBalancerProvider`; `privateEndpointNodeport` and `privateEndpointILB`" + ` exclude each other.
* Two names for one thing may not say different things. What clients derive by themselves gives way to what a user wrote.

## Updates

` + "`k8s-extension update`" + ` merges settings into those there are and replaces protected settings as a whole; given without a value,
` + "`--configuration-protected-settings`" + ` takes all of them away. A node selector can be changed and added, not removed. Before a change that
disturbs what is running, the command says what and asks; ` + "`--yes`" + ` answers, and without a terminal it is needed.
` + "`enableTraining` and `enableInference`" + ` stay True while jobs go on, or online endpoints are there: switching them off is refused, naming those.
`
