"""azure-cli: a registered cloud, login as a service principal, and its general commands."""

import html
import json
import os
import pathlib
import re
import ssl
import subprocess
import sys
import urllib.parse
import urllib.request

from steps import end, equal, expect, step

endpoint, subscription, group = os.environ["FAIRLEAD_ENDPOINT"], os.environ["AZURE_SUBSCRIPTION_ID"], os.environ["CONFORMANCE_GROUP"]
cluster = f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Kubernetes/connectedClusters/{os.environ['CONFORMANCE_CLUSTER']}"
template = pathlib.Path(os.environ["CONFORMANCE_DIR"]) / "template.json"
template.write_text(json.dumps({
    "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0",
    "parameters": {"name": {"type": "string"}, "word": {"type": "securestring"}},
    "resources": [
        {"type": "Microsoft.ManagedIdentity/userAssignedIdentities", "apiVersion": "2023-01-31", "name": "[parameters('name')]", "location": "[resourceGroup().location]",
         "tags": {"copy": "[string(copyIndex())]"}, "copy": {"name": "loop", "count": 1}, "dependsOn": ["[resourceId('Microsoft.KeyVault/vaults', 'az-vault')]"]},
        {"type": "Microsoft.KeyVault/vaults", "apiVersion": "2023-07-01", "name": "az-vault", "location": "[resourceGroup().location]", "properties": {"secret": "[parameters('word')]"}},
    ],
    "outputs": {"client": {"type": "string", "value": "[reference(parameters('name')).clientId]"}},
}))
environment = {k: v for k, v in os.environ.items() if not k.startswith(("ARM_", "AZURE_AUTHORITY"))}


def az(*args, fails=False):
    done = subprocess.run([sys.executable, "-m", "azure.cli", *args], env=environment, capture_output=True, text=True, timeout=300)
    expect((done.returncode != 0) == fails, f"az {' '.join(args[:2])}: exit status {done.returncode}: {done.stderr[-2500:]}")
    if fails:
        return done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else None


def browse(url, form=None):
    data = urllib.parse.urlencode(form).encode() if form else None
    with urllib.request.urlopen(url, data, timeout=60, context=ssl.create_default_context(cafile=os.environ["REQUESTS_CA_BUNDLE"])) as answer:
        return answer.read().decode()


def submit(page, **fields):
    """Sends a page's form, as a person does with a browser."""
    action = re.search(r'method="post" action="([^"]+)"', page)
    expect(action, page)
    fields |= {html.unescape(n): html.unescape(v) for n, v in re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page)}
    return browse(html.unescape(action[1]), fields)


def sign_in(page):
    answer = submit(page, username=os.environ["PERSON_NAME"], password=os.environ["PERSON_PASSWORD"])
    if 'id="back"' in answer:
        submit(answer)


if sys.argv[1:2] == ["--browser"]:  # az opened a page
    sign_in(browse(sys.argv[2]))
    sys.exit(0)


@step("register a cloud by its address")
def _():
    az("config", "set", "core.instance_discovery=false", "core.collect_telemetry=false")
    az("cloud", "register", "-n", "Fairlead", "--endpoint-resource-manager", endpoint)
    az("cloud", "set", "-n", "Fairlead")
    shown = az("cloud", "show")
    equal((shown["name"], shown["endpoints"]["resourceManager"].rstrip("/")), ("Fairlead", endpoint))
    expect(shown["suffixes"]["storageEndpoint"].startswith("localhost"), shown["suffixes"])


@step("be told that a secret is wrong")
def _():
    text = az("login", "--service-principal", "-u", os.environ["AZURE_CLIENT_ID"], "-p", "wrong", "--tenant", os.environ["AZURE_TENANT_ID"], fails=True)
    expect("AADSTS7000215" in text, text)


@step("log in with a certificate")
def _():
    accounts = az("login", "--service-principal", "-u", os.environ["APP_CLIENT_ID"], "--certificate", os.environ["APP_CERTIFICATE"], "--tenant", os.environ["AZURE_TENANT_ID"])
    equal([a["id"] for a in accounts], [subscription])
    expect(group in [g["name"] for g in az("group", "list")])
    az("logout")


@step("log in with a client secret")
def _():
    accounts = az("login", "--service-principal", "-u", os.environ["AZURE_CLIENT_ID"], "-p", os.environ["AZURE_CLIENT_SECRET"],
                  "--tenant", os.environ["AZURE_TENANT_ID"])
    equal([(a["id"], a["state"], a["user"]["type"]) for a in accounts], [(subscription, "Enabled", "servicePrincipal")])
    expect(az("account", "get-access-token")["accessToken"].count(".") == 2)


@step("make, list, tag and delete a resource group")
def _():
    equal(az("group", "create", "-n", "az-made", "-l", "local", "--tags", "a=1")["properties"]["provisioningState"], "Succeeded")
    equal(az("group", "update", "-n", "az-made", "--set", "tags.a=2")["tags"], {"a": "2"})
    expect("az-made" in [g["name"] for g in az("group", "list")])
    az("group", "delete", "-n", "az-made", "--yes")
    equal(az("group", "exists", "-n", "az-made"), False)


@step("see that providers are registered")
def _():
    equal(az("provider", "show", "-n", "Microsoft.KubernetesConfiguration")["registrationState"], "Registered")


@step("make, list and delete a managed identity")
def _():
    made = az("identity", "create", "-n", "az-id", "-g", group, "-l", "local")
    expect(made["clientId"] and made["principalId"])
    equal([i["name"] for i in az("identity", "list", "-g", group)], ["az-id"])
    az("identity", "delete", "-n", "az-id", "-g", group)


@step("use resources by id, with filters")
def _():
    equal(az("resource", "show", "--ids", cluster)["properties"]["connectivityStatus"], "Connected")
    equal([r["id"].lower() for r in az("resource", "list", "--resource-type", "Microsoft.Kubernetes/connectedClusters")], [cluster.lower()])
    ws = az("resource", "create", "-g", group, "-n", "az-lab", "--resource-type", "Microsoft.MachineLearningServices/workspaces", "-l", "local", "-p", "{}")
    equal(ws["properties"]["provisioningState"], "Succeeded")
    az("resource", "delete", "--ids", ws["id"])


@step("deploy a template")
def _():
    made = az("deployment", "group", "create", "-g", group, "-n", "az-first", "--template-file", str(template), "--parameters", "name=az-by-template", "word=hush")
    equal((made["properties"]["provisioningState"], made["properties"]["outputs"]["client"]["type"]), ("Succeeded", "String"))
    identity = az("identity", "show", "-n", "az-by-template", "-g", group)
    equal((identity["clientId"], identity["tags"]), (made["properties"]["outputs"]["client"]["value"], {"copy": "0"}))
    expect("hush" not in json.dumps(made), made)
    equal([d["name"] for d in az("deployment", "group", "list", "-g", group)], ["az-first"])
    steps = az("deployment", "operation", "group", "list", "-g", group, "-n", "az-first")
    equal({s["properties"]["targetResource"]["resourceName"]: s["properties"]["provisioningState"] for s in steps}, {"az-by-template": "Succeeded", "az-vault": "Succeeded"})
    text = az("deployment", "group", "validate", "-g", group, "--template-file", str(template), "--parameters", "nme=x", "word=y", fails=True)
    expect("did you mean" in text or "nme" in text, text)
    az("deployment", "group", "delete", "-g", group, "-n", "az-first")


@step("send any request")
def _():
    got = az("rest", "--method", "get", "--url", f"{cluster}?api-version=2024-01-01")
    equal(got["id"].lower(), cluster.lower())
    text = az("rest", "--method", "get", "--url", f"/subscriptions/{subscription}/resourceGroups/az-absent?api-version=2024-01-01", fails=True)
    expect("ResourceGroupNotFound" in text, text)


@step("read errors of the resource manager")
def _():
    expect("ResourceGroupNotFound" in az("group", "show", "-n", "az-absent", fails=True))


@step("log in a person with a device code")
def _():
    az("logout")
    login = subprocess.Popen([sys.executable, "-m", "azure.cli", "login", "--use-device-code", "--tenant", os.environ["AZURE_TENANT_ID"]], env=environment,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for line in login.stderr:
            shown = re.search(r"open the page (\S+) and enter the code (\S+) ", line)
            if shown:
                sign_in(submit(browse(shown[1]), user_code=shown[2]))
                break
        out, err = login.communicate(timeout=120)
    finally:
        login.kill()
    expect(login.returncode == 0, err)
    equal([(a["id"], a["user"]["name"], a["user"]["type"]) for a in json.loads(out)], [(subscription, os.environ["PERSON_NAME"], "user")])
    equal(az("group", "show", "-n", group)["name"], group)


@step("log in a person in a browser")
def _():
    az("logout")
    environment["BROWSER"] = f"{sys.executable} {os.path.abspath(__file__)} --browser %s &"
    accounts = az("login", "--tenant", os.environ["AZURE_TENANT_ID"])
    equal([(a["id"], a["user"]["type"]) for a in accounts], [(subscription, "user")])
    equal(az("group", "show", "-n", group)["name"], group)


end()
