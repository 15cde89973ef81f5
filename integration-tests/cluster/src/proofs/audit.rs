//! What the API server wrote down of the requests that it answered.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use brindle_lab::process::wait_until;
use jiff::Timestamp;
use serde_json::Value;

use crate::paths::Paths;

/// How long after an answer it may take to be written down.
const PATIENCE: Duration = Duration::from_secs(10);

/// The log, from a position on.
#[derive(Debug)]
pub struct Audit {
    log: BufReader<File>,
    /// A line whose end was not there yet.
    partial: String,
}

/// One request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its identity, which the answer has as `Audit-Id`.
    pub id: String,
    /// Who asked.
    pub user: String,
    /// The node that the asking pod runs on, if the token says.
    pub node: String,
    /// What was asked for: `get`, `patch`, ...
    pub verb: String,
    /// Of which resource.
    pub resource: String,
    /// When the answer was complete.
    pub answered: SystemTime,
}

impl Audit {
    /// Begins at the present end.
    ///
    /// # Errors
    /// The API server keeps no log.
    pub fn from_now(paths: &Paths) -> Result<Self> {
        let path = paths.audit_log();
        let mut log = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        log.seek(SeekFrom::End(0))?;
        Ok(Self { log: BufReader::new(log), partial: String::new() })
    }

    /// What was written down since the last call.
    ///
    /// # Errors
    /// The log has another form.
    pub fn news(&mut self) -> Result<Vec<Request>> {
        let mut found = Vec::new();
        while self.log.read_line(&mut self.partial)? > 0 {
            if !self.partial.ends_with('\n') {
                break;
            }
            found.push(read(&std::mem::take(&mut self.partial))?);
        }
        Ok(found)
    }

    /// When the request of this identity was answered.
    ///
    /// # Errors
    /// It is not written down in time.
    pub fn answered(&mut self, id: &str) -> Result<SystemTime> {
        let mut answered = None;
        wait_until(PATIENCE, &format!("the answer {id} in the API server's log"), || {
            answered = self.news()?.into_iter().find(|request| request.id == id);
            Ok(answered.is_some())
        })?;
        answered.map(|request| request.answered).context("it was found")
    }
}

fn read(line: &str) -> Result<Request> {
    let event: Value = serde_json::from_str(line).context("a line of the API server's log")?;
    let text = |pointer: &str| {
        event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let answered: Timestamp = text("/stageTimestamp").parse()?;
    Ok(Request {
        id: text("/auditID"),
        user: text("/user/username"),
        node: text("/user/extra/authentication.kubernetes.io~1node-name/0"),
        verb: text("/verb"),
        resource: text("/objectRef/resource"),
        answered: answered.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_who_asked_for_what_and_when_it_was_answered() {
        let line = r#"{"kind": "Event", "auditID": "a-1", "verb": "patch", "user": {"username": "u",
            "extra": {"authentication.kubernetes.io/node-name": ["node2"]}},
            "objectRef": {"resource": "pods"}, "stageTimestamp": "1970-01-01T00:00:01.500000Z"}"#;
        let request = read(line).unwrap();
        assert_eq!((&*request.id, &*request.user, &*request.node), ("a-1", "u", "node2"));
        assert_eq!((&*request.verb, &*request.resource), ("patch", "pods"));
        let at = request.answered.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(at, Duration::from_millis(1500));
        assert!(read("{}").is_err(), "without a time");
    }
}
