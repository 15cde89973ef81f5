//! NOTIFICATION: why a session ends (RFC 4271 §4.5, §6 and the registry of error codes).

use std::fmt;

/// NOTIFICATION with its diagnostic data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Error code and subcode.
    pub code: NotificationCode,
    /// Diagnostic octets; their meaning hangs on the code.
    pub data: Vec<u8>,
}

/// An error code with its subcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each variant's RFC and words stand in the table below")]
pub enum NotificationCode {
    ConnectionNotSynchronized,
    BadMessageLength,
    BadMessageType,
    OpenUnspecific,
    UnsupportedVersion,
    BadPeerAs,
    BadBgpIdentifier,
    UnsupportedOptionalParameter,
    UnacceptableHoldTime,
    UnsupportedCapability,
    RoleMismatch,
    UpdateUnspecific,
    MalformedAttributeList,
    UnrecognizedWellKnownAttribute,
    MissingWellKnownAttribute,
    AttributeFlagsError,
    AttributeLengthError,
    InvalidOrigin,
    InvalidNextHop,
    OptionalAttributeError,
    InvalidNetworkField,
    MalformedAsPath,
    HoldTimerExpired,
    FsmUnspecific,
    UnexpectedInOpenSent,
    UnexpectedInOpenConfirm,
    UnexpectedInEstablished,
    CeaseUnspecific,
    MaximumPrefixes,
    AdministrativeShutdown,
    PeerDeconfigured,
    AdministrativeReset,
    ConnectionRejected,
    OtherConfigurationChange,
    ConnectionCollision,
    OutOfResources,
    HardReset,
    BfdDown,
    RefreshUnspecific,
    InvalidRefreshLength,
    SendHoldTimerExpired,
    /// A pair that the table does not name.
    Other(u8, u8),
}

use NotificationCode as N;

/// Most octets of an operator's words (RFC 9003 §2).
pub const MAX_COMMUNICATION: usize = 255;

fn carries_words(code: NotificationCode) -> bool {
    matches!(code, N::AdministrativeShutdown | N::AdministrativeReset)
}

/// Code, subcode, words. Sources: RFC 4271 §6, 5492, 6286, 4486, 8538, 9384, 6608, 7313, 9234, 9687.
const TABLE: [(NotificationCode, u8, u8, &str); 41] = [
    (N::ConnectionNotSynchronized, 1, 1, "connection not synchronized"),
    (N::BadMessageLength, 1, 2, "bad message length"),
    (N::BadMessageType, 1, 3, "bad message type"),
    (N::OpenUnspecific, 2, 0, "OPEN message error"),
    (N::UnsupportedVersion, 2, 1, "unsupported version number"),
    (N::BadPeerAs, 2, 2, "bad peer AS"),
    (N::BadBgpIdentifier, 2, 3, "bad BGP identifier"),
    (N::UnsupportedOptionalParameter, 2, 4, "unsupported optional parameter"),
    (N::UnacceptableHoldTime, 2, 6, "unacceptable hold time"),
    (N::UnsupportedCapability, 2, 7, "unsupported capability"),
    (N::RoleMismatch, 2, 11, "role mismatch"),
    (N::UpdateUnspecific, 3, 0, "UPDATE message error"),
    (N::MalformedAttributeList, 3, 1, "malformed attribute list"),
    (N::UnrecognizedWellKnownAttribute, 3, 2, "unrecognized well-known attribute"),
    (N::MissingWellKnownAttribute, 3, 3, "missing well-known attribute"),
    (N::AttributeFlagsError, 3, 4, "attribute flags error"),
    (N::AttributeLengthError, 3, 5, "attribute length error"),
    (N::InvalidOrigin, 3, 6, "invalid ORIGIN attribute"),
    (N::InvalidNextHop, 3, 8, "invalid NEXT_HOP attribute"),
    (N::OptionalAttributeError, 3, 9, "optional attribute error"),
    (N::InvalidNetworkField, 3, 10, "invalid network field"),
    (N::MalformedAsPath, 3, 11, "malformed AS_PATH"),
    (N::HoldTimerExpired, 4, 0, "hold timer expired"),
    (N::FsmUnspecific, 5, 0, "finite state machine error"),
    (N::UnexpectedInOpenSent, 5, 1, "unexpected message in OpenSent"),
    (N::UnexpectedInOpenConfirm, 5, 2, "unexpected message in OpenConfirm"),
    (N::UnexpectedInEstablished, 5, 3, "unexpected message in Established"),
    (N::CeaseUnspecific, 6, 0, "cease"),
    (N::MaximumPrefixes, 6, 1, "maximum number of prefixes reached"),
    (N::AdministrativeShutdown, 6, 2, "administrative shutdown"),
    (N::PeerDeconfigured, 6, 3, "peer de-configured"),
    (N::AdministrativeReset, 6, 4, "administrative reset"),
    (N::ConnectionRejected, 6, 5, "connection rejected"),
    (N::OtherConfigurationChange, 6, 6, "other configuration change"),
    (N::ConnectionCollision, 6, 7, "connection collision resolution"),
    (N::OutOfResources, 6, 8, "out of resources"),
    (N::HardReset, 6, 9, "hard reset"),
    (N::BfdDown, 6, 10, "BFD down"),
    (N::RefreshUnspecific, 7, 0, "ROUTE-REFRESH message error"),
    (N::InvalidRefreshLength, 7, 1, "invalid ROUTE-REFRESH length"),
    (N::SendHoldTimerExpired, 8, 0, "send hold timer expired"),
];

impl NotificationCode {
    /// The error code octet.
    pub fn code(self) -> u8 {
        self.octets().0
    }

    /// The error subcode octet.
    pub fn subcode(self) -> u8 {
        self.octets().1
    }

    /// From the two octets of the wire; every pair has a value.
    pub fn from_octets(code: u8, subcode: u8) -> Self {
        TABLE
            .iter()
            .find(|row| (row.1, row.2) == (code, subcode))
            .map_or(Self::Other(code, subcode), |row| row.0)
    }

    /// A notification with this code and no data.
    pub fn empty(self) -> Notification {
        self.with_data(Vec::new())
    }

    /// A notification with this code and the operator's words, cut to what fits, where the code can
    /// carry any (RFC 9003 §2).
    pub fn saying(self, words: &str) -> Notification {
        if !carries_words(self) {
            return self.empty();
        }
        let words = &words[..words.floor_char_boundary(MAX_COMMUNICATION)];
        let mut data = vec![u8::try_from(words.len()).expect("cut to what an octet counts")];
        data.extend(words.as_bytes());
        self.with_data(data)
    }

    /// A notification with this code and these diagnostic octets.
    pub fn with_data(self, data: impl Into<Vec<u8>>) -> Notification {
        Notification { code: self, data: data.into() }
    }

    fn octets(self) -> (u8, u8) {
        match (self, TABLE.iter().find(|row| row.0 == self)) {
            (Self::Other(code, subcode), _) => (code, subcode),
            (_, Some(row)) => (row.1, row.2),
            (_, None) => unreachable!("every named code stands in the table"),
        }
    }
}

impl fmt::Display for NotificationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = TABLE.iter().find(|row| row.0 == *self).map_or("unknown error", |row| row.3);
        write!(f, "{words} ({}/{})", self.code(), self.subcode())
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        match (self.inner(), self.communication()) {
            // One level: what is nested deeper is shown as octets.
            (Some(inner), _) if inner.code != N::HardReset => write!(f, ": {inner}"),
            (_, Some(text)) => write!(f, ": {text}"),
            (_, None) if self.data.is_empty() => Ok(()),
            (_, None) => {
                write!(f, ", data ")?;
                self.data.iter().take(32).try_for_each(|octet| write!(f, "{octet:02x}"))
            }
        }
    }
}

impl Notification {
    /// This notification as one that ends forwarding too (RFC 8538 §3.1): Hard Reset around it.
    pub fn hard(self) -> Self {
        let mut data = vec![self.code.code(), self.code.subcode()];
        data.extend(self.data);
        N::HardReset.with_data(data)
    }

    /// What a Hard Reset is around, if it says.
    fn inner(&self) -> Option<Self> {
        match (self.code, &*self.data) {
            (N::HardReset, [code, subcode, data @ ..]) => {
                Some(NotificationCode::from_octets(*code, *subcode).with_data(data))
            }
            _ => None,
        }
    }

    /// The operator's words of a shutdown or reset (RFC 9003 §2), control characters replaced;
    /// `None` for other codes, no text, or text that is not UTF-8.
    pub fn communication(&self) -> Option<String> {
        if !carries_words(self.code) {
            return None;
        }
        let (len, rest) = self.data.split_first()?;
        let text = std::str::from_utf8(rest.get(..usize::from(*len))?).ok()?;
        let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        (!text.is_empty()).then(|| text.chars().map(clean).collect())
    }
}

impl std::error::Error for Notification {}
