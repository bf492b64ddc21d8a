"""azureml-core, the first generation of Microsoft's library: the program that documentation of that time prints."""

import json
import os
import pathlib

import msal
from azureml.core.authentication import TokenAuthentication
from azureml.core.compute import ComputeTarget, KubernetesCompute
from azureml.core.workspace import Workspace
from steps import end, equal, expect, refused, step

endpoint, subscription, group = os.environ["FAIRLEAD_ENDPOINT"], os.environ["AZURE_SUBSCRIPTION_ID"], os.environ["CONFORMANCE_GROUP"]
name = "v1-compute"
resource_id = f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Kubernetes/connectedClusters/{os.environ['CONFORMANCE_CLUSTER']}"
identity = f"/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/v1-id"
application = msal.ConfidentialClientApplication(
    os.environ["AZURE_CLIENT_ID"], os.environ["AZURE_CLIENT_SECRET"], authority=f"{endpoint}/{os.environ['AZURE_TENANT_ID']}", instance_discovery=False)
auth = TokenAuthentication(lambda audience: application.acquire_token_for_client([audience + "/.default"])["access_token"])
ws = None


@step("read and list workspaces")
def _():
    global ws
    folder = pathlib.Path(os.environ["CONFORMANCE_DIR"])
    (folder / "config.json").write_text(json.dumps({"subscription_id": subscription, "resource_group": group, "workspace_name": "v1-lab"}))
    os.chdir(folder)
    ws = Workspace.from_config(auth=auth)
    equal((ws.name, ws.resource_group, ws.location), ("v1-lab", group, "local"))
    equal(list(Workspace.list(subscription, auth=auth, resource_group=group)), ["v1-lab"])


@step("attach, read and list a Kubernetes compute")
def _():
    expect(name not in ws.compute_targets)
    configuration = KubernetesCompute.attach_configuration(resource_id=resource_id, namespace="default", identity_type="UserAssigned", identity_ids=[identity])
    compute = ComputeTarget.attach(ws, name, configuration)
    compute.wait_for_completion(show_output=True)
    expect(compute.get_status().serialize()["provisioningState"] == "Succeeded", compute.get_status().serialize())
    found = ws.compute_targets[name]
    expect(type(found) is KubernetesCompute, type(found))
    equal((found.namespace, found.cluster_resource_id.lower(), found.identity_type), ("default", resource_id.lower(), "UserAssigned"))
    equal([i.lower() for i in found.identity_ids], [identity.lower()])


@step("be told what is wrong")
def _():
    wrong = KubernetesCompute.attach_configuration(resource_id=resource_id + "-absent", namespace="default")
    refused(lambda: ComputeTarget.attach(ws, "v1-bad", wrong).wait_for_completion(), "edge-absent")


@step("detach a compute", limit="it is detached at once, with 204; the library takes an operation that goes on for the only answer and fails, and the compute is detached")
def _():
    refused(ComputeTarget(ws, name).detach, "azure-asyncoperation")
    expect(name not in ws.compute_targets)


end()
