"""The Open Inference Protocol, version 2, over HTTP: the same model for clients that speak tensors."""
