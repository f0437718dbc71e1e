//! The order of strings in views and selectors.
