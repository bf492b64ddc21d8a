"""Resource manager clients: azure-identity, azure-mgmt-resource, -subscriptions, -hybridkubernetes, -kubernetesconfiguration, -msi."""

import datetime
import os

from azure.core.exceptions import ClientAuthenticationError, ResourceNotFoundError
from azure.identity import CertificateCredential, ClientSecretCredential, EnvironmentCredential
from azure.mgmt.hybridkubernetes import ConnectedKubernetesClient
from azure.mgmt.kubernetesconfiguration import SourceControlConfigurationClient
from azure.mgmt.msi import ManagedServiceIdentityClient
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.resource.subscriptions import SubscriptionClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from steps import end, equal, expect, refused, step

endpoint = os.environ["FAIRLEAD_ENDPOINT"]
subscription = os.environ["AZURE_SUBSCRIPTION_ID"]
tenant = os.environ["AZURE_TENANT_ID"]
group, cluster = os.environ["CONFORMANCE_GROUP"], os.environ["CONFORMANCE_CLUSTER"]

credential = EnvironmentCredential(disable_instance_discovery=True)
arm = {"base_url": endpoint, "credential_scopes": [endpoint + "/.default"]}
resources = ResourceManagementClient(credential, subscription, **arm)
subscriptions = SubscriptionClient(credential, **arm)
clusters = ConnectedKubernetesClient(credential, subscription, **arm)
extensions = SourceControlConfigurationClient(credential, subscription, **arm).extensions
identities = ManagedServiceIdentityClient(credential, subscription, **arm)
scope = f"/subscriptions/{subscription}/resourceGroups/{group}"


@step("log in with a client secret")
def _():
    token = credential.get_token(endpoint + "/.default")
    expect(token.token.count(".") == 2 and token.expires_on > 0)


@step("be told that a secret is wrong")
def _():
    bad = ClientSecretCredential(tenant, os.environ["AZURE_CLIENT_ID"], "wrong", authority=endpoint, disable_instance_discovery=True)
    try:
        bad.get_token(endpoint + "/.default")
    except ClientAuthenticationError as e:
        expect("AADSTS7000215" in str(e), str(e))
    else:
        raise AssertionError("a wrong secret was taken")


def certificate():
    """A key and a certificate for it, PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "conformance")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
    plain = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return plain + made.public_bytes(serialization.Encoding.PEM)


@step("log in with a certificate")
def _():
    app, file, options = os.environ["APP_CLIENT_ID"], os.environ["APP_CERTIFICATE"], {"authority": endpoint, "disable_instance_discovery": True}
    mine = CertificateCredential(tenant, app, file, **options)
    expect(group in [g.name for g in ResourceManagementClient(mine, subscription, **arm).resource_groups.list()])
    chain = CertificateCredential(tenant, app, file, send_certificate_chain=True, **options)
    expect(chain.get_token(endpoint + "/.default").token.count(".") == 2)
    refused(lambda: CertificateCredential(tenant, app, certificate_data=certificate(), **options).get_token(endpoint + "/.default"), "AADSTS700027")


@step("list tenants, subscriptions and locations")
def _():
    equal([t.tenant_id for t in subscriptions.tenants.list()], [tenant])
    equal([s.subscription_id for s in subscriptions.subscriptions.list()], [subscription])
    equal(subscriptions.subscriptions.get(subscription).state, "Enabled")
    equal([l.name for l in subscriptions.subscriptions.list_locations(subscription)], ["local"])


@step("make, list, tag and delete a resource group")
def _():
    made = resources.resource_groups.create_or_update("py-made", {"location": "local", "tags": {"a": "1"}})
    equal((made.name, made.properties.provisioning_state, made.tags), ("py-made", "Succeeded", {"a": "1"}))
    expect(resources.resource_groups.check_existence("py-made"))
    expect(not resources.resource_groups.check_existence("py-absent"))
    equal(resources.resource_groups.update("py-made", {"tags": {"a": "2"}}).tags, {"a": "2"})
    expect("py-made" in [g.name for g in resources.resource_groups.list()])
    resources.resource_groups.begin_delete("py-made").result(60)
    expect(not resources.resource_groups.check_existence("py-made"))


@step("read errors of the resource manager")
def _():
    try:
        resources.resource_groups.get("py-absent")
    except ResourceNotFoundError as e:
        equal(e.error.code, "ResourceGroupNotFound")
    else:
        raise AssertionError("a group that is not there was found")


@step("see that providers are registered")
def _():
    equal(resources.providers.get("Microsoft.KubernetesConfiguration").registration_state, "Registered")
    equal(resources.providers.register("Microsoft.Kubernetes").registration_state, "Registered")
    expect("Microsoft.MachineLearningServices" in [p.namespace for p in resources.providers.list()])


@step("list clusters, and groups page by page")
def _():
    equal([c.name for c in clusters.connected_cluster.list_by_resource_group(group)], [cluster])
    resources.resource_groups.create_or_update("py-second", {"location": "local"})
    expect({group, "py-second"} <= {g.name for g in resources.resource_groups.list(top=1)})
    expect(cluster in [c.name for c in clusters.connected_cluster.list_by_subscription()])
    c = clusters.connected_cluster.get(group, cluster)
    equal((c.connectivity_status, c.total_node_count, c.provisioning_state), ("Connected", 1, "Succeeded"))


@step("install, show, update, list and delete an extension")
def _():
    where = (group, "Microsoft.Kubernetes", "connectedClusters", cluster)
    made = extensions.begin_create(*where, "py-ml", {
        "extension_type": "Microsoft.AzureML.Kubernetes",
        "configuration_settings": {"enableTraining": "True"},
        "configuration_protected_settings": {},
    }).result(60)
    equal((made.name, made.provisioning_state, made.extension_type), ("py-ml", "Succeeded", "Microsoft.AzureML.Kubernetes"))
    equal(extensions.get(*where, "py-ml").configuration_settings["enableTraining"], "True")
    equal([e.name for e in extensions.list(*where)], ["py-ml"])
    changed = extensions.begin_update(*where, "py-ml", {"configuration_settings": {"installNvidiaDevicePlugin": "False"}}).result(60)
    equal(changed.configuration_settings, {"enableTraining": "True", "installNvidiaDevicePlugin": "False"})
    extensions.begin_delete(*where, "py-ml").result(60)
    equal(list(extensions.list(*where)), [])


@step("be told which setting of an extension is wrong")
def _():
    where = (group, "Microsoft.Kubernetes", "connectedClusters", cluster)
    refused(lambda: extensions.begin_create(*where, "py-bad", {
        "extension_type": "Microsoft.AzureML.Kubernetes", "configuration_settings": {"enableTrainng": "True"},
    }).result(60), "enableTraining")


@step("make, list and delete a managed identity")
def _():
    made = identities.user_assigned_identities.create_or_update(group, "py-id", {"location": "local", "tags": {"team": "ml"}})
    expect(made.principal_id and made.client_id and made.tenant_id == tenant)
    equal([i.name for i in identities.user_assigned_identities.list_by_resource_group(group)], ["py-id"])
    equal(identities.user_assigned_identities.update(group, "py-id", {"tags": {"team": "ops"}}).tags, {"team": "ops"})
    identities.user_assigned_identities.delete(group, "py-id")
    equal(list(identities.user_assigned_identities.list_by_subscription()), [])


@step("use resources by id, with filters")
def _():
    one = scope + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/py-generic"
    version = {"api_version": "2023-01-31"}
    made = resources.resources.begin_create_or_update_by_id(one, {"location": "local"}, **version).result(60)
    equal(made.name, "py-generic")
    expect(resources.resources.check_existence_by_id(one, **version))
    equal(resources.resources.get_by_id(one, **version).type, "Microsoft.ManagedIdentity/userAssignedIdentities")
    listed = resources.resources.list_by_resource_group(group, filter="resourceType eq 'Microsoft.ManagedIdentity/userAssignedIdentities'")
    equal([r.name for r in listed], ["py-generic"])
    expect({"py-generic", cluster} <= {r.name for r in resources.resources.list()})
    resources.resources.begin_delete_by_id(one, **version).result(60)
    expect(not resources.resources.check_existence_by_id(one, **version))


end()
