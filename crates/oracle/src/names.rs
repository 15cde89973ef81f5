//! Forms of names, as the Kubernetes API server enforces them (RFC 1123, RFC 6335).

/// At most 63 lower-case letters, digits and `-`, alphanumeric at both ends.
pub(crate) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_part(text)
}

/// At most 253 of such parts and dots between them.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_part)
}

/// The name of a container port: a DNS label of at most 15, with a letter and no `-` beside another.
pub(crate) fn is_port_name(text: &str) -> bool {
    let letter = text.bytes().any(|c| c.is_ascii_lowercase());
    text.len() <= 15 && is_dns_part(text) && letter && !text.contains("--")
}

fn is_dns_part(text: &str) -> bool {
    let alphanumeric = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ends = |c: Option<&u8>| c.is_some_and(|c| alphanumeric(*c));
    let bytes = text.as_bytes();
    bytes.iter().all(|c| alphanumeric(*c) || *c == b'-')
        && ends(bytes.first())
        && ends(bytes.last())
}
