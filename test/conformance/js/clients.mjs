// @azure/identity, arm-resources, arm-msi, arm-hybridkubernetes, arm-kubernetesconfiguration, arm-machinelearning and storage-blob.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";

import { ConnectedKubernetesClient } from "@azure/arm-hybridkubernetes";
import { SourceControlConfigurationClient } from "@azure/arm-kubernetesconfiguration";
import { AzureMachineLearningWorkspaces } from "@azure/arm-machinelearning";
import { ManagedServiceIdentityClient } from "@azure/arm-msi";
import { ResourceManagementClient } from "@azure/arm-resources";
import { ClientCertificateCredential, ClientSecretCredential, EnvironmentCredential } from "@azure/identity";
import { BlobSASPermissions, BlobServiceClient, BlockBlobClient, ContainerClient, StorageSharedKeyCredential } from "@azure/storage-blob";

import { all, names, refused, step } from "./steps.mjs";

const env = process.env;
const endpoint = env.FAIRLEAD_ENDPOINT, subscription = env.AZURE_SUBSCRIPTION_ID, group = env.CONFORMANCE_GROUP, cluster = env.CONFORMANCE_CLUSTER;
const credential = new EnvironmentCredential({ disableInstanceDiscovery: true });
const arm = { endpoint, credentialScopes: endpoint + "/.default" };
const resources = new ResourceManagementClient(credential, subscription, arm);
const identities = new ManagedServiceIdentityClient(credential, subscription, arm).userAssignedIdentities;
const clusters = new ConnectedKubernetesClient(credential, subscription, arm).connectedClusterOperations;
const extensions = new SourceControlConfigurationClient(credential, subscription, arm).extensions;
const ml = new AzureMachineLearningWorkspaces(credential, subscription, arm);
const ws = "js-lab";
const edge = `/subscriptions/${subscription}/resourceGroups/${group}/providers/Microsoft.Kubernetes/connectedClusters/${cluster}`;

await step("log in with a client secret", async () => {
  const token = await credential.getToken(endpoint + "/.default");
  assert.equal(token.token.split(".").length, 3);
});

await step("be told that a secret is wrong", async () => {
  const bad = new ClientSecretCredential(env.AZURE_TENANT_ID, env.AZURE_CLIENT_ID, "wrong", { authorityHost: endpoint, disableInstanceDiscovery: true });
  await assert.rejects(bad.getToken(endpoint + "/.default"), /AADSTS7000215/);
});

await step("log in with a certificate", async () => {
  const mine = new ClientCertificateCredential(env.AZURE_TENANT_ID, env.APP_CLIENT_ID, env.APP_CERTIFICATE, { authorityHost: endpoint, disableInstanceDiscovery: true });
  assert.ok((await names(new ResourceManagementClient(mine, subscription, arm).resourceGroups.list())).includes(group));
});

await step("make, list, tag and delete a resource group", async () => {
  const made = await resources.resourceGroups.createOrUpdate("js-made", { location: "local", tags: { a: "1" } });
  assert.deepEqual([made.name, made.properties.provisioningState], ["js-made", "Succeeded"]);
  assert.equal((await resources.resourceGroups.checkExistence("js-made")).body, true);
  assert.equal((await resources.resourceGroups.update("js-made", { tags: { a: "2" } })).tags.a, "2");
  assert.ok((await names(resources.resourceGroups.list())).includes("js-made"));
  await resources.resourceGroups.beginDeleteAndWait("js-made");
  assert.equal((await resources.resourceGroups.checkExistence("js-made")).body, false);
});

await step("read errors of the resource manager", () => refused(resources.resourceGroups.get("js-absent"), "ResourceGroupNotFound"));

await step("see that providers are registered", async () => {
  assert.equal((await resources.providers.get("Microsoft.KubernetesConfiguration")).registrationState, "Registered");
});

await step("list clusters, and groups page by page", async () => {
  assert.deepEqual(await names(clusters.listByResourceGroup(group)), [cluster]);
  assert.deepEqual(await names(clusters.listBySubscription()), [cluster]);
  assert.equal((await clusters.get(group, cluster)).connectivityStatus, "Connected");
  await resources.resourceGroups.createOrUpdate("js-second", { location: "local" });
  assert.deepEqual(await names(resources.resourceGroups.list({ top: 1 })), [group, "js-second"].sort());
});

const where = [group, "Microsoft.Kubernetes", "connectedClusters", cluster];

await step("install, show, update, list and delete an extension", async () => {
  const settings = { enableTraining: "True" };
  const made = await extensions.beginCreateAndWait(...where, "js-ml", { extensionType: "Microsoft.AzureML.Kubernetes", configurationSettings: settings });
  assert.deepEqual([made.name, made.provisioningState], ["js-ml", "Succeeded"]);
  assert.deepEqual((await extensions.get(...where, "js-ml")).configurationSettings, settings);
  const changed = await extensions.beginUpdateAndWait(...where, "js-ml", { configurationSettings: { installNvidiaDevicePlugin: "False" } });
  assert.equal(changed.configurationSettings.installNvidiaDevicePlugin, "False");
  assert.deepEqual(await names(extensions.list(...where)), ["js-ml"]);
  await extensions.beginDeleteAndWait(...where, "js-ml");
  assert.deepEqual(await names(extensions.list(...where)), []);
});

await step("be told which setting of an extension is wrong", () =>
  assert.rejects(extensions.beginCreateAndWait(...where, "js-bad", { extensionType: "Microsoft.AzureML.Kubernetes", configurationSettings: { enableTrainng: "True" } }), /enableTraining/));

await step("make, list and delete a managed identity", async () => {
  const made = await identities.createOrUpdate(group, "js-id", { location: "local", tags: { team: "ml" } });
  assert.ok(made.principalId && made.clientId && made.tenantId === env.AZURE_TENANT_ID);
  assert.deepEqual(await names(identities.listByResourceGroup(group)), ["js-id"]);
  assert.equal((await identities.update(group, "js-id", { tags: { team: "ops" } })).tags.team, "ops");
  await identities.delete(group, "js-id");
  assert.deepEqual(await names(identities.listBySubscription()), []);
});

await step("use resources by id, with filters", async () => {
  const one = `/subscriptions/${subscription}/resourceGroups/${group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/js-generic`;
  assert.equal((await resources.resources.beginCreateOrUpdateByIdAndWait(one, "2023-01-31", { location: "local" })).name, "js-generic");
  assert.equal((await resources.resources.getById(one, "2023-01-31")).name, "js-generic");
  const filter = "resourceType eq 'Microsoft.ManagedIdentity/userAssignedIdentities'";
  assert.deepEqual(await names(resources.resources.listByResourceGroup(group, { filter })), ["js-generic"]);
  await resources.resources.beginDeleteByIdAndWait(one, "2023-01-31");
  assert.equal((await resources.resources.checkExistenceById(one, "2023-01-31")).body, false);
});

await step("make a workspace", async () => {
  const made = await ml.workspaces.beginCreateOrUpdateAndWait(group, ws, { location: "local", friendlyName: "Lab", identity: { type: "SystemAssigned" } });
  assert.deepEqual([made.name, made.provisioningState, made.friendlyName], [ws, "Succeeded", "Lab"]);
});

await step("read and list workspaces", async () => {
  assert.ok((await ml.workspaces.get(group, ws)).discoveryUrl.startsWith(endpoint));
  assert.deepEqual(await names(ml.workspaces.listByResourceGroup(group)), [ws]);
  assert.deepEqual(await names(ml.workspaces.listBySubscription()), [ws]);
});

await step("attach, read and list a Kubernetes compute", async () => {
  await extensions.beginCreateAndWait(...where, "js-ml", { extensionType: "Microsoft.AzureML.Kubernetes", configurationSettings: { enableTraining: "True" } });
  const made = await ml.computeOperations.beginCreateOrUpdateAndWait(group, ws, "k8s", {
    location: "local", properties: { computeType: "Kubernetes", resourceId: edge, properties: { namespace: "default" } },
  });
  assert.deepEqual([made.name, made.properties.provisioningState, made.properties.properties.namespace], ["k8s", "Succeeded", "default"]);
  assert.equal((await ml.computeOperations.get(group, ws, "k8s")).properties.computeType, "Kubernetes");
  assert.deepEqual(await names(ml.computeOperations.list(group, ws)), ["k8s"]);
});

await step("make an environment from an image", async () => {
  await ml.environmentVersions.createOrUpdate(group, ws, "js-env", "1", { properties: { image: "docker.io/library/python:3.12" } });
  assert.equal((await ml.environmentContainers.get(group, ws, "js-env")).properties.latestVersion, "1");
  assert.deepEqual(await names(ml.environmentVersions.list(group, ws, "js-env")), ["1"]);
});

let blobs;

await step("list, make and read datastores", async () => {
  assert.deepEqual(await names(ml.datastores.list(group, ws)), ["workspaceartifactstore", "workspaceblobstore"]);
  const store = (await ml.datastores.get(group, ws, "workspaceblobstore")).properties;
  const { sasToken } = await ml.datastores.listSecrets(group, ws, "workspaceblobstore");
  blobs = new ContainerClient(`https://${store.accountName}.blob.${store.endpoint}/${store.containerName}?${sasToken}`);
  await ml.datastores.createOrUpdate(group, ws, "js_store", { properties: {
    datastoreType: "AzureBlob", accountName: store.accountName, containerName: "js-container", credentials: { credentialsType: "None" } } });
});

await step("write, read, list and delete blobs at the account's host", async () => {
  const data = randomBytes(5 << 20);
  const big = blobs.getBlockBlobClient("js/big ü.bin");
  await big.uploadData(data, { maxSingleShotSize: 1 << 20, blockSize: 1 << 20, concurrency: 3, metadata: { k: "v" } });
  assert.deepEqual(await big.downloadToBuffer(), data);
  assert.deepEqual(await big.downloadToBuffer(1000, 500), data.subarray(1000, 1500));
  assert.equal((await big.getProperties()).metadata.k, "v");
  const log = blobs.getAppendBlobClient("js/logs/std_log.txt");
  await log.create();
  await log.appendBlock("one ", 4);
  await log.appendBlock("two", 3);
  assert.equal((await log.downloadToBuffer()).toString(), "one two");
  assert.deepEqual((await all(blobs.listBlobsFlat({ prefix: "js/" }).byPage({ maxPageSize: 1 }))).length >= 2, true);
  const below = await all(blobs.listBlobsByHierarchy("/", { prefix: "js/" }));
  assert.deepEqual(below.map((b) => [b.kind, b.name]).sort(), [["blob", "js/big ü.bin"], ["prefix", "js/logs/"]]);
  await log.delete();
  assert.equal(await log.exists(), false);
});

await step("reach blobs with the caller's own token", async () => {
  const mine = new BlobServiceClient(new URL(blobs.url).origin, credential).getContainerClient(blobs.containerName);
  assert.equal((await mine.getBlobClient("js/big ü.bin").getProperties()).contentLength, 5 << 20);
});

await step("copy blobs by the server", async () => {
  const big = blobs.getBlockBlobClient("js/big ü.bin"), copy = blobs.getBlockBlobClient("js/copy.bin");
  const poller = await copy.beginCopyFromURL(big.url);
  assert.equal((await poller.pollUntilDone()).copyStatus, "success");
  assert.equal((await copy.syncUploadFromURL(big.url)).errorCode, undefined);
  await copy.stageBlockFromURL("AAAA", big.url, 1000, 500);
  await copy.commitBlockList(["AAAA"]);
  assert.deepEqual(await copy.downloadToBuffer(), (await big.downloadToBuffer()).subarray(1000, 1500));
});

await step("sign addresses with a user delegation key", async () => {
  const service = new BlobServiceClient(new URL(blobs.url).origin, credential);
  const expiresOn = new Date(Date.now() + 3600e3);
  const key = await service.getUserDelegationKey(new Date(Date.now() - 60e3), expiresOn);
  const address = (permissions) => service.getContainerClient(blobs.containerName).getBlockBlobClient("js/big ü.bin").generateUserDelegationSasUrl(
    { permissions: BlobSASPermissions.parse(permissions), expiresOn }, key);
  assert.equal((await new BlockBlobClient(await address("r")).downloadToBuffer()).length, 5 << 20);
  await refused(new BlockBlobClient(await address("r")).delete(), "AuthorizationPermissionMismatch");
});

await step("sign requests or addresses with an account key", () => {
  const key = new StorageSharedKeyCredential(blobs.accountName, Buffer.from("key").toString("base64"));
  return refused(new BlockBlobClient(blobs.url.split("?")[0] + "/js/x", key).getProperties(), "NoAuthenticationInformation");
}, "accounts have no keys, which would open all of an account to whoever learns one; signatures are made with a user delegation key, which grants no more than its owner may");

await step("list containers of an account", () => refused(all(new BlobServiceClient(new URL(blobs.url).origin, credential).listContainers()), "InvalidResourceName"),
  "an account here is a workspace's; its containers are found by its datastores");

await step("submit a job with uploaded code", async () => {
  await blobs.getBlockBlobClient("js/code/train.py").uploadData(Buffer.from("print('hello')\n"));
  const codeUri = blobs.url.split("?")[0] + "/js/code";
  const code = await ml.codeVersions.createOrUpdate(group, ws, "js-code", "1", { properties: { codeUri } });
  const environment = await ml.environmentVersions.get(group, ws, "js-env", "1");
  const compute = await ml.computeOperations.get(group, ws, "k8s");
  const made = await ml.jobs.createOrUpdate(group, ws, "js-job", { properties: {
    jobType: "Command", command: "python train.py ${{inputs.n}}", codeId: code.id, environmentId: environment.id, computeId: compute.id,
    experimentName: "conformance", inputs: { n: { jobInputType: "literal", value: "3" } }, tags: { k: "v" } } });
  assert.deepEqual([made.name, made.properties.experimentName, made.properties.tags.k], ["js-job", "conformance", "v"]);
});

await step("read, list and cancel a job", async () => {
  assert.equal((await ml.jobs.get(group, ws, "js-job")).properties.command, "python train.py ${{inputs.n}}");
  assert.deepEqual(await names(ml.jobs.list(group, ws, { jobType: "Command" })), ["js-job"]);
  await ml.jobs.beginCancelAndWait(group, ws, "js-job");
  for (let i = 0; i < 100 && (await ml.jobs.get(group, ws, "js-job")).properties.status !== "Canceled"; i++) await new Promise((r) => setTimeout(r, 100));
  assert.equal((await ml.jobs.get(group, ws, "js-job")).properties.status, "Canceled");
});

await step("detach a compute and delete a workspace", async () => {
  await ml.computeOperations.beginDeleteAndWait(group, ws, "k8s", "Detach");
  await ml.workspaces.beginDeleteAndWait(group, ws);
  assert.deepEqual(await names(ml.workspaces.listByResourceGroup(group)), []);
});
