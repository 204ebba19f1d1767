import os

# gRPC writes lines of its own to stderr when a connection fails; what a person has to know is in the error that is raised (vectorstore.qdrant.errors).
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
