//! Communities as routers print them.

use brindle_model::routing::filter::Community;

/// Reads `65001:100` (RFC 1997) or `65001:1:2` (RFC 8092).
///
/// # Errors
/// It is neither.
pub(super) fn community(text: &str) -> Result<Community, String> {
    let parts: Option<Vec<u32>> = text.split(':').map(decimal).collect();
    let short = |part: u32| u16::try_from(part).ok();
    let community = match parts.as_deref() {
        Some([a, b]) => short(*a).zip(short(*b)).map(|(a, b)| Community::Standard(a, b)),
        Some([a, b, c]) => Some(Community::Large(*a, *b, *c)),
        _ => None,
    };
    community.ok_or_else(|| format!("`{text}` is not a community such as 65001:100 or 65001:1:2"))
}

/// A number of digits only: `parse` alone would take a sign.
fn decimal(text: &str) -> Option<u32> {
    text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse().ok())?
}
