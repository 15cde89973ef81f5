//! Where inputs come from: API objects read, checked and converted.
//!
//! ```text
//! YAML text ── yaml, document, decode ──> Object ── convert ──> Input + problems
//! ```
//! [`document::parse`] and [`convert::convert`] are pure and take any input at all without a
//! panic: they are the decoders to fuzz.

pub mod convert;
pub mod decode;
pub mod document;
pub mod intern;
pub mod object;
pub mod pools;
pub mod problem;
pub mod validate;
mod yaml;
