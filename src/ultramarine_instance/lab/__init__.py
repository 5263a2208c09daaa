"""What needs the curated environment `jupyter`: the server, who may speak to it, the list of its kernels."""
