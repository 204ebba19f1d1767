import os

# gRPC writes its own lines to stderr when a connection fails. The error that is raised (vectorstore.qdrant.errors) contains the information.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
