//! The loop as a user meets it.
