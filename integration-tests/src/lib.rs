//! The lab, generated worlds, and the tests that need more than one package.
