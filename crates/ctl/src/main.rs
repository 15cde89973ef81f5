//! brindlectl.
fn main() {}
