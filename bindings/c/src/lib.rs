//! The C library of tidings.
