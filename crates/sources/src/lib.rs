//! Where inputs come from: API objects read, validated and converted.
