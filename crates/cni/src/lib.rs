//! The CNI types and the plugin binary.
