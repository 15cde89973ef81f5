//! Protocols and ports as rules of NetworkPolicy and GlobalNetworkPolicy spell them (C18, C19).

use brindle_model::net::Protocol;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::names::is_port_name;

/// C18: a name, or a number from 1 to 255.
pub(crate) fn protocol(written: &IntOrString) -> Option<Protocol> {
    match written {
        IntOrString::Int(number) => u8::try_from(*number).ok().filter(|n| *n > 0).map(Protocol),
        IntOrString::String(name) => match name.as_str() {
            "TCP" => Some(Protocol::TCP),
            "UDP" => Some(Protocol::UDP),
            "ICMP" => Some(Protocol::ICMP),
            "ICMPv6" => Some(Protocol::ICMPV6),
            "SCTP" => Some(Protocol::SCTP),
            "UDPLite" => Some(Protocol(136)),
            _ => None,
        },
    }
}

/// An entry of `ports` or `notPorts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PortEntry<'a> {
    /// First and last.
    Numbers(u16, u16),
    Named(&'a str),
}

/// C19: a number, a range `"min:max"` within 0–65535, or a name.
pub(crate) fn port_entry(written: &IntOrString) -> Option<PortEntry<'_>> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten()
    };
    match written {
        IntOrString::Int(port) => {
            u16::try_from(*port).ok().map(|port| PortEntry::Numbers(port, port))
        }
        IntOrString::String(text) => match text.split_once(':') {
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(PortEntry::Numbers(first, last))
            }
            None if text.bytes().all(|c| c.is_ascii_digit()) => {
                number(text).map(|port| PortEntry::Numbers(port, port))
            }
            None => is_port_name(text).then_some(PortEntry::Named(text)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c18_protocols() {
        let named = |name: &str| protocol(&IntOrString::String(name.to_owned())).map(|p| p.0);
        assert_eq!(
            ["TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite"].map(named),
            [6, 17, 1, 58, 132, 136].map(Some)
        );
        assert_eq!(["tcp", "", "GRE", "300"].map(named), [None; 4]);
        let number = |number| protocol(&IntOrString::Int(number)).map(|p| p.0);
        assert_eq!([1, 255].map(number), [Some(1), Some(255)]);
        assert_eq!([0, 256, -1, 262].map(number), [None; 4]);
    }

    #[test]
    fn c19_ports() {
        use PortEntry::{Named, Numbers};
        for (text, entry) in [
            ("80:90", Some(Numbers(80, 90))),
            ("0:65535", Some(Numbers(0, 65535))),
            ("80:80", Some(Numbers(80, 80))),
            ("80", Some(Numbers(80, 80))),
            ("web", Some(Named("web"))),
            ("p-1", Some(Named("p-1"))),
            ("90:80", None),
            ("80:65536", None),
            ("80:", None),
            (":80", None),
            ("80-90", None),
            ("1:2:3", None),
            ("+80:90", None),
            ("", None),
            ("Web", None),
            ("a--b", None),
            ("-web", None),
            ("sixteen-letters-", None),
        ] {
            assert_eq!(port_entry(&IntOrString::String(text.to_owned())), entry, "{text:?}");
        }
        for (number, entry) in [
            (0, Some(Numbers(0, 0))),
            (65535, Some(Numbers(65535, 65535))),
            (-1, None),
            (65536, None),
        ] {
            assert_eq!(port_entry(&IntOrString::Int(number)), entry, "{number}");
        }
    }
}
