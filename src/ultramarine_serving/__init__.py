"""The data plane: what stands between a client and a model. It never imports `ultramarine`."""
