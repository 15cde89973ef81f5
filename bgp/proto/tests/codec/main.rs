//! The codec against the RFCs' clauses, against itself, against two other codecs, and against
//! malice.

mod cve;
mod differential;
mod fuzz;
mod generate;
mod header;
mod open;
mod refresh;
mod rfc7606;
mod roundtrip;
mod two_octet;
mod wire;
