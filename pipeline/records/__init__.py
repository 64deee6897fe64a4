"""What a row is, the store of rows, CSVs of them, and MLflow as their projection."""
