package extensionsettings

import (
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/testing/certtest"
)

var now = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// settings reads "k=v k=v"; what follows "|" is protected.
func settings(line string) Settings {
	plain, protected, _ := strings.Cut(line, "|")
	read := func(texts string) map[string]string {
		m := map[string]string{}
		for _, kv := range strings.Fields(texts) {
			k, v, _ := strings.Cut(kv, "=")
			m[k] = v
		}
		return m
	}
	return Settings{Plain: read(plain), Protected: read(protected)}
}

func TestValidateAccepts(t *testing.T) {
	for _, line := range []string{
		"enableTraining=True", "enableTraining=true", "enableTraining=TRUE enableInference=false",
		"enableTraining=True enableInference=", "enableTraining=True sslCname= sslSecret= internalLoadBalancerProvider=",
		"enableTraining=True logAnalyticsWS=True installNvidiaDevicePlugin=False openshift=true",
		"enableTraining=True installPromOp=False installVolcano=False installDcgmExporter=True installJobSet=False nodeLostSeconds=120",
		"enableTraining=True nodeSelector.pool=ml nodeSelector.kubernetes.io/os=linux", `enableTraining=True nodeSelector.node\.example/pool=ml`,
		"enableTraining=True nodeSelector.node-role.kubernetes.io/worker=",
		"enableTraining=True gateway.resources.limits.memory=512Mi amloperator.resources.requests.cpu=5m",
		"enableTraining=True image.agent=registry.example:5000/fairlead/agent:1@sha256:0123",
		"enableInference=True allowInsecureConnections=True",
		"enableInference=True allowInsecureConnections=True privateEndpointILB=True", "enableInference=True allowInsecureConnections=True privateEndpointNodeport=True",
		"enableInference=True allowInsecureConnections=True privateEndpointNodeport=False privateEndpointILB=False",
		"enableInference=True allowInsecureConnections=True inferenceRouterServiceType=NodePort", "enableInference=True allowInsecureConnections=True inferenceRouterServiceType=clusterip",
		"enableInference=True allowInsecureConnections=True inferenceRouterServiceType=LoadBalancer internalLoadBalancerProvider=Azure",
		"enableInference=True allowInsecureConnections=True inferenceRouterServiceType=ClusterIP internalLoadBalancerProvider=azure scoringFe.serviceType.internalLoadBalancer=True",
		"enableInference=True allowInsecureConnections=True inferenceRouterServiceType=loadBalancer scoringFe.serviceType.nodePort=True",
		"enableInference=True allowInsecureConnections=True privateEndpointNodeport=True inferenceRouterServiceType=nodePort",
		"enableInference=True allowInsecureConnections=True inferenceLoadBalancerHA=False inferenceRouterHA=false",
		"enableInference=True allowInsecureConnections=True inferenceRouterHA=False clusterPurpose=FastProd",
		"enableInference=True sslSecret=tls sslCname=ml.example.com", "enableInference=True sslSecret=tls scoringFe.sslSecret=old sslCname=ML.example.com",
		"enableTraining=True amloperator.skipResourceValidation=true volcanoScheduler.schedulerConfigMap=volcano-config volcanoScheduler.enable=false",
		"enableTraining=True nginxIngress.controller=k8s.io/amlarc-ingress-nginx nginxIngress.controllerConfig.worker-processes=8 nginxIngress.resources.controller.limits.memory=1Gi",
		"enableTraining=True enable_https=false amloperator.custom_ip_interface_enabled=True amloperator.custom_ip_interface=eth0 scoringFe.enableUpgrade=true isAKSMigration=true",
		"enableTraining=True|servicebus.connectionString=x relayserver.relayConnectionString=y RelayConnectionString=y azure_log_analytics.connection_string=z",
	} {
		if ps := settings(line).Validate(Options{Now: now}); len(ps) > 0 {
			t.Errorf("%s: %v", line, ps)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"":                                      "enableTraining: " + textNothingEnabled,
		"enableTraining=False":                  "enableTraining: " + textNothingEnabled,
		"openshift=True|":                       "enableTraining: " + textNothingEnabled,
		"enableTraining=yes":                    `enableTraining: enableTraining="yes" is not True or False. Write True or False.`,
		"enableTraining=1":                      `enableTraining="1" is not True or False`,
		"enableInference=Ture":                  `enableInference="Ture" is not True or False`,
		"enableTraining=True logAnalyticsWS=on": `logAnalyticsWS="on" is not`,
		"enableTraining=True installNvidiaDevicePlugin=0":                  `installNvidiaDevicePlugin="0" is not`,
		"enableTraining=True allowInsecureConnections=x":                   `allowInsecureConnections="x" is not`,
		"enableTraining=True privateEndpointNodeport=x":                    `privateEndpointNodeport="x" is not`,
		"enableTraining=True privateEndpointILB=x":                         `privateEndpointILB="x" is not`,
		"enableTraining=True inferenceLoadBalancerHA=x":                    `inferenceLoadBalancerHA="x" is not`,
		"enableTraining=True inferenceRouterHA=x":                          `inferenceRouterHA="x" is not`,
		"enableTraining=True openshift=x":                                  `openshift="x" is not`,
		"enableTraining=True installPromOp=x":                              `installPromOp="x" is not`,
		"enableTraining=True installVolcano=x":                             `installVolcano="x" is not`,
		"enableTraining=True installDcgmExporter=x":                        `installDcgmExporter="x" is not`,
		"enableTraining=True nodeLostSeconds=0":                            `nodeLostSeconds="0" is not a number of seconds`,
		"enableTraining=True installJobSet=x":                              `installJobSet="x" is not`,
		"enableTraining=True scoringFe.serviceType.nodePort=x":             `scoringFe.serviceType.nodePort="x" is not`,
		"enableTraining=True inferenceRouterServiceType=ingress":           `inferenceRouterServiceType="ingress" is not loadBalancer, nodePort or clusterIP. ` + textServiceType,
		"enableTraining=True internalLoadBalancerProvider=aws":             `internalLoadBalancerProvider="aws" is not azure. Write azure.`,
		"enableTraining=True clusterPurpose=Prod":                          `clusterPurpose="Prod" is not DevTest or FastProd`,
		"enableTraining=True sslCname=-ml.example.com":                     `sslCname="-ml.example.com" is not a DNS name. Write a name like ml.example.com.`,
		"enableTraining=True sslCname=*.example.com":                       `sslCname="*.example.com" is not`,
		"enableTraining=True sslSecret=My_Secret":                          `sslSecret="My_Secret" is not the name of a Kubernetes object`,
		"enableTraining=True volcanoScheduler.schedulerConfigMap=A":        `volcanoScheduler.schedulerConfigMap="A" is not`,
		"enableTraining=True nodeSelector.pool=a/b":                        `nodeSelector.pool="a/b" is not a label value`,
		"enableTraining=True nodeSelector.pool=" + strings.Repeat("a", 64): "is not a label value",
		"enableTraining=True nodeSelector.a/b/c=x":                         "nodeSelector.a/b/c is not a setting. After nodeSelector. comes a node's label",
		"enableTraining=True nodeSelector.-a=x":                            "nodeSelector.-a is not a setting",
		"enableTraining=True nodeSelector.=x":                              "nodeSelector. is not a setting",
		"enableTraining=True nodeSelector=x":                               `nodeSelector is not a setting; did you mean "nodeSelector.*"?`,
		`enableTraining=True nodeSelector.a\.b=1 nodeSelector.a.b=1`:       "is also given as",
		"enableTraining=True gateway.resources.limits.memory=lots":         `gateway.resources.limits.memory="lots" is not a Kubernetes quantity`,
		"enableTraining=True gateway.resources.limit.memory=1Gi":           "gateway.resources.limit.memory is not a setting. After gateway.resources. comes requests.cpu",
		"enableTraining=True image.agent=a;b":                              `image.agent="a;b" is not an image`,
		"enabletraining=True":                                              `enabletraining is not a setting; did you mean "enableTraining"?`,
		"enableTrainning=True":                                             `did you mean "enableTraining"?`,
		"enableTraining=True doamin=x":                                     `doamin is not a setting; did you mean "domain"?`,
		"enableTraining=True instalPromOp=True":                            `did you mean "installPromOp"?`,
		"enableTraining=True volcanoScheduler.enabled=false":               `did you mean "volcanoScheduler.enable"?`,
		"enableTraining=True quitedifferent=1":                             "quitedifferent is not a setting. Settings are listed in",
		"enableTraining=True a..b=1":                                       "a..b is not a setting",
		"enableTraining=True =1":                                           "is not a setting",
		"enableTraining=True|ssKeyPMFile=x":                                `ssKeyPMFile is not a setting; did you mean "sslKeyPemFile"?`,
		"enableTraining=True scoringFe.sslKey=abc":                         "scoringFe.sslKey is a secret. Give it in --configuration-protected-settings",
		"enableTraining=True sslKeyPemFile=abc":                            "sslKeyPemFile is a secret",
		"enableTraining=True serviceBusConnectionString=abc":               "serviceBusConnectionString is a secret",
		"|enableTraining=True":                                             "enableTraining is not a secret. Give it in --configuration-settings",
		"enableTraining=True location=a|location=b":                        "location: Duplicate keys found.",
		"enableInference=True privateEndpointNodeport=True privateEndpointILB=True allowInsecureConnections=True": "privateEndpointILB: " + textOnlyOne,
		"enableTraining=True inferenceRouterServiceType=nodePort internalLoadBalancerProvider=azure":              "internalLoadBalancerProvider: " + textNodePort,
		"enableTraining=True privateEndpointNodeport=True internalLoadBalancerProvider=azure":                     "internalLoadBalancerProvider: " + textNodePort,
		"enableTraining=True privateEndpointNodeport=True inferenceRouterServiceType=clusterIP":                   `privateEndpointNodeport="True" means inferenceRouterServiceType=nodePort, but inferenceRouterServiceType="clusterIP" is given too. Leave one of them out.`,
		"enableTraining=True privateEndpointILB=True inferenceRouterServiceType=nodePort":                         `privateEndpointILB="True" means inferenceRouterServiceType=loadBalancer`,
		"enableTraining=True inferenceLoadBalancerHA=True inferenceRouterHA=False":                                `inferenceLoadBalancerHA="True" means inferenceRouterHA=True`,
		"enableTraining=True volcanoScheduler.enable=False installVolcano=True":                                   `volcanoScheduler.enable="False" means installVolcano=False`,
		"enableInference=True":                                                   "sslSecret: " + textNoTLS,
		"enableInference=True allowInsecureConnections=False":                    "sslSecret: " + textNoTLS,
		"enableInference=True sslSecret=tls":                                     "sslCname: " + textNoName,
		"enableInference=True scoringFe.sslSecret=tls":                           "sslCname: " + textNoName,
		"enableInference=True|sslCertPemFile=c.pem sslKeyPemFile=k.pem":          "sslCertPemFile is the name of a file, which the control plane cannot read",
		"enableTraining=True|scoringFe.sslCert=eA==":                             "scoringFe.sslKey (sslKeyPemFile) is missing beside scoringFe.sslCert",
		"enableTraining=True|scoringFe.sslKey=eA==":                              "scoringFe.sslCert (sslCertPemFile) is missing beside scoringFe.sslKey",
		"enableTraining=True|scoringFe.sslCert=-- scoringFe.sslKey=eA==":         "scoringFe.sslCert (sslCertPemFile) is not base64 of a PEM file",
		"enableTraining=True|scoringFe.sslCert=eA== scoringFe.sslKey=eA==":       "scoringFe.sslCert (sslCertPemFile) is not a PEM file",
		"enableTraining=True sslSecret=s|scoringFe.sslCert=a scoringFe.sslKey=b": `sslSecret="s" is given with a certificate and key of its own`,
	} {
		ps := settings(line).Validate(Options{Now: now})
		if len(ps) != 1 || !strings.Contains(ps[0].Key+": "+ps[0].Error(), want) {
			t.Errorf("%s:\n got %d problems %q\nwant one with %q", line, len(ps), ps.Error(), want)
		}
	}
}

func TestProblemsShowNoSecret(t *testing.T) {
	s := settings("enableTraining=True|scoringFe.sslCert=hunter2 scoringFe.sslKey=hunter2 hunter=hunter2 enableInference=hunter2")
	for _, ps := range []Problems{s.CheckEach(), s.Validate(Options{}), s.checkTLS(s.Effective(), Options{})} {
		if len(ps) == 0 || strings.Contains(ps.Error(), "hunter2") {
			t.Errorf("problems: %v", ps)
		}
	}
}

func TestCertificates(t *testing.T) {
	day := 24 * time.Hour
	pair := func(from, until time.Time, names ...string) (cert, key string) {
		t.Helper()
		c, k, err := certtest.Pair(from, until, names...)
		if err != nil {
			t.Fatal(err)
		}
		return string(c), string(k)
	}
	cert, key := pair(now.Add(-day), now.Add(day), "*.apps.example.com", "ml.example.com")
	oldCert, oldKey := pair(now.Add(-2*day), now.Add(-day), "ml.example.com")
	newCert, newKey := pair(now.Add(day), now.Add(2*day), "ml.example.com")
	locked := string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: []byte("x")}))
	locked8 := string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}))
	broken := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))
	for name, c := range map[string]struct{ cert, key, cname, want string }{
		"good":               {cert, key, "", ""},
		"good for its name":  {cert, key, "ml.example.com", ""},
		"good by a wildcard": {cert, key, "a.apps.example.com", ""},
		"chain":              {cert + oldCert, key, "", ""},
		"other name":         {cert, key, "example.com", `is for *.apps.example.com, ml.example.com and not for sslCname="example.com"`},
		"other key":          {cert, oldKey, "", "scoringFe.sslKey (sslKeyPemFile) does not fit the certificate"},
		"expired":            {oldCert, oldKey, "", "scoringFe.sslCert (sslCertPemFile) expired at 2030-01-01T03:04:05Z. Give one that is valid now."},
		"not yet":            {newCert, newKey, "", "is not valid before 2030-01-03T03:04:05Z"},
		"locked":             {cert, locked, "", "is protected by a passphrase, which is not supported. Write it without one: openssl pkey"},
		"locked, PKCS 8":     {cert, locked8, "", "is protected by a passphrase"},
		"swapped":            {key, cert, "", "scoringFe.sslCert (sslCertPemFile) holds no certificate"},
		"broken":             {broken, key, "", "holds a certificate that cannot be read"},
		"no PEM":             {cert, "secret", "", "scoringFe.sslKey (sslKeyPemFile) is not a PEM file"},
	} {
		s := settings("enableInference=True")
		s.Protected["scoringFe.sslCert"] = base64.StdEncoding.EncodeToString([]byte(c.cert))
		s.Protected["scoringFe.sslKey"] = base64.StdEncoding.EncodeToString([]byte(c.key))
		if c.cname != "" {
			s.Plain["sslCname"] = c.cname
		}
		ps := s.Validate(Options{Now: now})
		if c.want == "" {
			if len(ps) > 0 {
				t.Errorf("%s: %v", name, ps)
			}
			continue
		}
		if len(ps) != 1 || !strings.Contains(ps.Error(), c.want) || !ps[0].Protected {
			t.Errorf("%s: %v; want %q", name, ps, c.want)
		}
	}
	s := settings("enableInference=True sslCname=ml.example.com|sslCertPemFile=/home/ada/cert.pem sslKeyPemFile=/home/ada/key.pem")
	s.Protected["scoringFe.sslCert"] = base64.StdEncoding.EncodeToString([]byte(cert))
	s.Protected["scoringFe.sslKey"] = base64.StdEncoding.EncodeToString([]byte(key))
	if ps := s.Validate(Options{Now: now}); len(ps) > 0 {
		t.Errorf("paths beside what is in the files, as az sends them: %v", ps)
	}
	s = settings("enableInference=True")
	s.Protected = map[string]string{"scoringFe.sslCert": base64.StdEncoding.EncodeToString([]byte(oldCert)), "scoringFe.sslKey": base64.StdEncoding.EncodeToString([]byte(oldKey))}
	if ps := s.Validate(Options{}); len(ps) > 0 {
		t.Errorf("dates checked without a date: %v", ps)
	}
	s.Protected = map[string]string{"scoringFe.sslCert": base64.StdEncoding.EncodeToString([]byte(cert)), "scoringFe.sslKey": base64.StdEncoding.EncodeToString([]byte(key))}
	if got := s.Effective()["sslCname"]; got != "ml.example.com" {
		t.Errorf("sslCname %q is taken from the certificate", got)
	}
}
