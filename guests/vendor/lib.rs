//! Empty: this package only names where the C libraries of the example functions come from.
