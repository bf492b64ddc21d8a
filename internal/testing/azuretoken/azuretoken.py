# What the program of this folder does, with Azure's library for Python.
import sys
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
scope, *client = sys.argv[1:]
print((ManagedIdentityCredential(client_id=client[0]) if client else DefaultAzureCredential()).get_token(scope).token)
