"""Parameter groups: the fields of forms, flags and YAML."""
