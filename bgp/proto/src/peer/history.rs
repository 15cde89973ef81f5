//! What happened to a peer, for its status and for the pause between attempts.

use std::time::Duration;

use crate::message::{Notification, NotificationCode, Update};
use crate::speaker::status::ErrorStatus;
use crate::timer::Time;

/// Counters and last words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// When the session came up or went down last.
    pub(crate) since: Time,
    /// How often it came up.
    pub(crate) established_count: u64,
    /// How often it went down.
    pub(crate) flaps: u64,
    /// UPDATE messages that came.
    pub(crate) updates_received: u64,
    /// Of these, malformed ones that the session survived.
    pub(crate) updates_malformed: u64,
    /// Failures since the last session that lasted: ConnectRetryCounter (RFC 4271 §8.1.1).
    pub(crate) failures: u32,
    /// Panics of ours while the peer was handled.
    pub(crate) panics: u64,
    /// The latest error of any kind.
    pub(crate) last_error: Option<ErrorStatus>,
    /// The latest NOTIFICATION that came.
    pub(crate) last_received: Option<ErrorStatus>,
    /// The latest NOTIFICATION that we sent.
    pub(crate) last_sent: Option<ErrorStatus>,
}

impl History {
    pub(crate) fn came_up(&mut self, now: Time) {
        self.since = now;
        self.established_count += 1;
    }

    /// Returns how long the session was up.
    pub(crate) fn went_down(&mut self, now: Time) -> Duration {
        self.flaps += 1;
        let lasted = now.saturating_since(self.since);
        self.since = now;
        lasted
    }

    pub(crate) fn update(&mut self, update: &Update, now: Time) {
        self.updates_received += 1;
        if let Some(error) = update.errors.first() {
            self.updates_malformed += 1;
            self.error(format!("the neighbour sent a malformed UPDATE: {error}"), now);
        }
    }

    /// Whatever session there was has ended.
    pub(crate) fn panicked(&mut self, words: String, now: Time) {
        self.panics += 1;
        if self.established_count > self.flaps {
            self.went_down(now);
        }
        self.last_sent =
            Some(ErrorStatus { message: NotificationCode::OutOfResources.to_string(), at: now });
        self.error(words, now);
    }

    pub(crate) fn error(&mut self, message: String, at: Time) {
        self.last_error = Some(ErrorStatus { message, at });
    }

    pub(crate) fn received(&mut self, notification: &Notification, at: Time) {
        self.last_received = Some(ErrorStatus { message: notification.to_string(), at });
    }

    /// `words` say more than the code does: what exactly was wrong.
    pub(crate) fn sent(&mut self, notification: &Notification, words: &str, at: Time) {
        let message = notification.to_string();
        let message = match message.contains(words) {
            true => message,
            false => format!("{message}: {words}"),
        };
        self.last_sent = Some(ErrorStatus { message, at });
    }
}
