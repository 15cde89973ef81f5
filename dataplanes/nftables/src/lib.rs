//! The nftables backend: lower, commit, read back.
