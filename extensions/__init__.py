"""Extensions: what runs beside the pipelines."""
