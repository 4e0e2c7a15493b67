//! The build script of the C library. The core crate has none.

fn main() {}
