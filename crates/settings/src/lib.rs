//! YAML settings files: every mistake at once, each with its line and key
