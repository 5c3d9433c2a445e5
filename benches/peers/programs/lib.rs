//! Empty: this package only names where the C libraries of the compute suite come from.
