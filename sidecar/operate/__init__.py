"""The operators' HTTP endpoint: metrics and health."""
