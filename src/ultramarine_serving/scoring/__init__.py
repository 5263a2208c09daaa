"""The scoring server: answers requests with a model, inside that model's own environment."""
