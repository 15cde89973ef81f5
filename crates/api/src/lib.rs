//! Brindle's own API types as users write them.
