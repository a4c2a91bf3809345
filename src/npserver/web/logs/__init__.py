"""The texts of access logs, `fields` and `format` with `$variables`: what they ask for, their values, their lines."""
