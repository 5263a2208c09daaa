"""How MLflow is run (`launch`), what runs inside it (`plugin/`), and a small REST client of it (`client`)."""
