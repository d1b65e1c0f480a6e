"""The `text_statistics` stage: every number that a quality rule tests, in one module per family of rules."""
