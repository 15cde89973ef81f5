//! CIDR blocks in the spellings that stored objects have (K16).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::problem::Problems;

/// Reads a CIDR in any spelling and masks its host bits, with a warning (K16).
pub(super) fn masked(text: &str, at: &str, problems: &mut Problems) -> Option<IpNet> {
    match parse(text) {
        Ok(net) => {
            if net != net.trunc() {
                problems.warning(at, format!("{text} has host bits, read as {}", net.trunc()));
            }
            Some(net.trunc())
        }
        Err(message) => {
            problems.error(at, message);
            None
        }
    }
}

/// As [`masked`]; an address without a length stands for itself.
pub(super) fn masked_or_address(text: &str, at: &str, problems: &mut Problems) -> Option<IpNet> {
    match text.parse::<IpAddr>() {
        Ok(address) => Some(address.into()),
        Err(_) => masked(text, at, problems),
    }
}

/// Reads a CIDR as older API servers did: leading zeros are decimal, host bits may be set. The
/// result may have host bits; [`IpNet::trunc`] masks them.
///
/// # Errors
/// It is not a CIDR in any spelling.
fn parse(text: &str) -> Result<IpNet, String> {
    let error = || format!("`{text}` is not a CIDR such as 10.0.0.0/8 or fd00::/8");
    let (address, length) = text.split_once('/').ok_or_else(error)?;
    let address: IpAddr = if address.contains(':') {
        address.parse::<Ipv6Addr>().map_err(|_| error())?.into()
    } else {
        lenient_v4(address).ok_or_else(error)?.into()
    };
    let length = decimal(length).ok_or_else(error)?;
    IpNet::new(address, length).map_err(|_| error())
}

fn lenient_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        *octet = decimal(parts.next()?)?;
    }
    parts.next().is_none().then_some(octets.into())
}

/// A number of digits only: `parse` alone would take a sign.
fn decimal(text: &str) -> Option<u8> {
    text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lenient_spellings() {
        for (text, net) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("010.001.0.0/08", "10.1.0.0/8"),
            ("10.1.2.3/16", "10.1.2.3/16"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("FD00:0::1/64", "fd00::1/64"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(parse(text), Ok(net.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn not_a_cidr() {
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/",
            "/8",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0/8",
            "1.2.3.4.5/8",
            "10.0.0.256/8",
            "::/129",
            "fd00::%eth0/64",
            "10.0.0.0/8/8",
            "a.b.c.d/8",
            "10.0.0.-1/8",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
