"""Our scoring server beside its peers."""
