//! Forms of names and labels, as the Kubernetes API server enforces them.
//!
//! A folder has no API server in front of it, and names travel far: into file names, comments of
//! kernel rules and canonical selectors. So what the server would refuse is refused here.

/// Whether this is an RFC 1123 label: at most 63 lower-case letters, digits and `-`.
pub fn is_dns_label(text: &str) -> bool {
    let ends_well = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= 63
        && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        && ends_well(text.bytes().next())
        && ends_well(text.bytes().next_back())
}

/// Whether this is an RFC 1123 subdomain: labels joined by dots, at most 253 bytes. (The API server
/// does not limit the labels' own length.)
pub fn is_dns_subdomain(text: &str) -> bool {
    let label = |l: &str| {
        let edge = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        l.bytes().all(|c| edge(c) || c == b'-')
            && l.bytes().next().is_some_and(edge)
            && l.bytes().next_back().is_some_and(edge)
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Whether this is a label key: an optional subdomain and `/`, then a name of at most 63 bytes.
pub fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_label_name(name),
        None => is_label_name(text),
    }
}

/// Whether this is a label value: empty, or of the form of a label key's name.
pub fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_label_name(text)
}

/// Whether this is a port name (`IANA_SVC_NAME`): at most 15 lower-case letters, digits and single
/// `-` between them, at least one letter.
pub fn is_port_name(text: &str) -> bool {
    (1..=15).contains(&text.len())
        && is_dns_label(text)
        && text.bytes().any(|c| c.is_ascii_lowercase())
        && !text.contains("--")
}

fn is_label_name(text: &str) -> bool {
    let edge = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
        && edge(text.bytes().next())
        && edge(text.bytes().next_back())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A form: its test, texts that have it, texts that have not.
    type Form = (fn(&str) -> bool, &'static [&'static str], &'static [&'static str]);

    #[test]
    fn forms() {
        let cases: [Form; 5] = [
            (is_dns_label, &["a", "a-b", "0"], &["", "-a", "a-", "A", "a.b", "../x"]),
            (is_dns_subdomain, &["a.b", "a-b.c"], &["", ".a", "a..b", "a/b", "a_b", "a."]),
            (is_label_key, &["app", "x.io/A_b.c"], &["", "/a", "a/", "a/b/c", "a b", "X.io/a"]),
            (is_label_value, &["", "A_b.c-d"], &["-a", "a\"", "a b", "ä"]),
            (
                is_port_name,
                &["http", "p-1"],
                &["", "80", "a--b", "-a", "UPPER", "longer-than-15-b"],
            ),
        ];
        for (i, (test, good, bad)) in cases.into_iter().enumerate() {
            good.iter().for_each(|text| assert!(test(text), "form {i}: {text}"));
            bad.iter().for_each(|text| assert!(!test(text), "form {i}: {text}"));
        }
        assert!(!is_dns_label(&"a".repeat(64)) && !is_dns_subdomain(&"a".repeat(254)));
    }
}
