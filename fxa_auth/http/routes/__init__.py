"""The route table, one module per family of endpoints: model in, domain call, model out, nothing else."""
