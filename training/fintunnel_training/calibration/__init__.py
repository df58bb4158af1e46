"""Temperature and class biases per field, fitted on the validation file through a served model."""
