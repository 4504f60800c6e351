"""The configuration: one YAML file as frozen values (`model.Config`), or all that is wrong with it (`problems`)."""
