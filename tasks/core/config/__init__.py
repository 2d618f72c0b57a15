"""Parameter groups: the fields of Prefect's form, of the command's flags and of YAML files."""
