"""What Ultramarine adds to MLflow, inside MLflow's own process. It never imports the `ultramarine` package."""
