//! Errors as the specification words them (1.1.0, "Error").

use std::fmt;

use serde::{Deserialize, Serialize};

/// A failure, with a code that tells the runtime what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CniError {
    /// What kind of failure.
    pub code: ErrorCode,
    /// One line: what failed, and what to check.
    #[serde(rename = "msg")]
    pub message: String,
    /// The causes, outermost first, joined by `: `.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub details: String,
}

/// The codes in use: 1 to 99 are the specification's, from 100 on the plugin's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
pub enum ErrorCode {
    /// 1: the version of the specification is not spoken, or lacks the command.
    IncompatibleVersion,
    /// 3: the container is unknown; there is nothing to clean up.
    UnknownContainer,
    /// 4: a variable of the environment is absent or wrong.
    InvalidEnvironment,
    /// 5: input or output failed.
    Io,
    /// 6: the configuration is no JSON object.
    Decode,
    /// 7: the configuration has a wrong value.
    InvalidConfig,
    /// 11: a passing state; the runtime should try again later.
    TryAgainLater,
    /// 50: the plugin cannot serve ADD now (the answer to STATUS).
    NotAvailable,
    /// 100: the agent could not make the interface.
    Network,
    /// 101: no address could be given.
    Address,
    /// 102: CHECK found something that is not as ADD left it.
    CheckFailed,
    /// 103: the agent failed otherwise.
    Internal,
}

impl ErrorCode {
    const ALL: [Self; 12] = [
        Self::IncompatibleVersion,
        Self::UnknownContainer,
        Self::InvalidEnvironment,
        Self::Io,
        Self::Decode,
        Self::InvalidConfig,
        Self::TryAgainLater,
        Self::NotAvailable,
        Self::Network,
        Self::Address,
        Self::CheckFailed,
        Self::Internal,
    ];
}

impl From<ErrorCode> for u32 {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::IncompatibleVersion => 1,
            ErrorCode::UnknownContainer => 3,
            ErrorCode::InvalidEnvironment => 4,
            ErrorCode::Io => 5,
            ErrorCode::Decode => 6,
            ErrorCode::InvalidConfig => 7,
            ErrorCode::TryAgainLater => 11,
            ErrorCode::NotAvailable => 50,
            ErrorCode::Network => 100,
            ErrorCode::Address => 101,
            ErrorCode::CheckFailed => 102,
            ErrorCode::Internal => 103,
        }
    }
}

impl TryFrom<u32> for ErrorCode {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|code| u32::from(*code) == number);
        found.ok_or_else(|| format!("unknown error code {number}"))
    }
}

impl CniError {
    /// A failure without a cause.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: String::new() }
    }

    /// A failure with its causes.
    pub fn caused(
        code: ErrorCode,
        message: impl Into<String>,
        cause: &dyn std::error::Error,
    ) -> Self {
        let causes = std::iter::successors(Some(cause), |e| e.source());
        let details: Vec<String> = causes.map(ToString::to_string).collect();
        Self { code, message: message.into(), details: details.join(": ") }
    }
}

impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.message, u32::from(self.code))?;
        if self.details.is_empty() { Ok(()) } else { write!(f, ": {}", self.details) }
    }
}

impl std::error::Error for CniError {}
