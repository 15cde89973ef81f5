//! What protects the TCP connections of a peer: hop limits and the MD5 key.

use std::fmt;
use std::sync::Arc;

use super::command::PeerConfig;

/// How far away a peer may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hops {
    /// An external peer is on the link: what we send dies behind it (TTL 1, as every router does
    /// it). An internal one may be anywhere.
    #[default]
    Usual,
    /// What we send may be forwarded until this TTL is used up.
    Multihop(u8),
    /// Generalized TTL security (RFC 5082): we send with TTL 255, and the kernel drops what was
    /// forwarded more often than a peer this many hops away would need; 1 is the link itself.
    Security(u8),
}

/// Longest key that Linux takes (`TCP_MD5SIG_MAXKEYLEN`).
pub const MAX_KEY: usize = 80;

/// Key of the TCP MD5 signature option (RFC 2385): 1 to [`MAX_KEY`] octets. It does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Key(Arc<[u8]>);

/// No key can be made of these octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a password has 1 to {MAX_KEY} octets, not {0}")]
pub struct InvalidKey(usize);

impl Md5Key {
    /// A key.
    ///
    /// # Errors
    /// It is empty, which would sign nothing, or too long.
    pub fn new(octets: &[u8]) -> Result<Self, InvalidKey> {
        match octets.len() {
            1..=MAX_KEY => Ok(Self(octets.into())),
            len => Err(InvalidKey(len)),
        }
    }

    /// The octets, for the kernel only.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Md5Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Key(…)")
    }
}

/// The password of a peer that has to have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Password {
    /// The key in force. Without one there is no session: an unsigned one was not asked for.
    pub key: Option<Md5Key>,
    /// Why there is no key, or none newer than the one in force.
    pub problem: Option<String>,
}

/// Socket options of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// TTL or hop limit of what we send.
    pub ttl: u8,
    /// Least TTL or hop limit of what is taken (`IP_MINTTL`, `IPV6_MINHOPCOUNT`); 0 takes all.
    pub min_ttl: u8,
    /// Signs what is sent and is demanded of what comes.
    pub key: Option<Md5Key>,
}

/// TTL of what goes to an internal peer.
const INTERNAL_TTL: u8 = 64;

impl Hops {
    /// TTL to send with and least TTL to take.
    pub(crate) fn ttls(self, external: bool) -> (u8, u8) {
        match self {
            Self::Usual if external => (1, 0),
            Self::Usual => (INTERNAL_TTL, 0),
            Self::Multihop(hops) => (hops, 0),
            // 255 is what a neighbour on the link sends; every hop takes one off.
            Self::Security(hops) => (u8::MAX, u8::MAX - (hops - 1)),
        }
    }

    /// For an operator; `None` says nothing worth it.
    fn words(self) -> Option<String> {
        match self {
            Self::Usual => None,
            Self::Multihop(hops) => Some(format!("TTL {hops} (multihop)")),
            Self::Security(hops) => {
                let (_, least) = self.ttls(true);
                Some(format!("TTL security: {hops} hops, TTL at least {least}"))
            }
        }
    }

    /// No packet would arrive, or none be refused.
    pub(crate) fn is_valid(self) -> bool {
        match self {
            Self::Usual => true,
            Self::Multihop(hops) => hops > 0,
            Self::Security(hops) => (1..u8::MAX).contains(&hops),
        }
    }
}

impl PeerConfig {
    /// What protects its connections.
    pub(crate) fn protection(&self) -> Vec<String> {
        let signed = self.password.as_ref().and_then(|password| password.key.as_ref());
        let signed = signed.map(|_| "TCP MD5 signatures".to_owned());
        signed.into_iter().chain(self.hops.words()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_takes_what_a_peer_that_far_away_sends_and_no_less() {
        assert_eq!(Hops::Security(1).ttls(true), (255, 255));
        assert_eq!(Hops::Security(254).ttls(false), (255, 2));
        assert_eq!(Hops::Usual.ttls(true), (1, 0));
        assert!(!Hops::Security(0).is_valid() && !Hops::Security(255).is_valid());
        assert!(!Hops::Multihop(0).is_valid());
    }

    #[test]
    fn a_key_is_not_empty_fits_and_does_not_print() {
        assert_eq!(Md5Key::new(b""), Err(InvalidKey(0)));
        assert_eq!(Md5Key::new(&[b'x'; 81]), Err(InvalidKey(81)));
        let key = Md5Key::new(b"secret").unwrap();
        let password = Password { key: Some(key), problem: None };
        assert!(!format!("{password:?}").contains("secret"));
    }
}
