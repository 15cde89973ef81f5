//! `brindlectl preflight`: the objects that an API server has, judged by this version, before anything
//! of an installed one is changed.

use anyhow::{Context, Result};
use brindle_sources::kubernetes::{self, Connection};
use brindle_sources::object::Kind;
use serde::Serialize;

use crate::output::{self, Format};

/// An object that this version does not accept as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Kind and name.
    pub object: String,
    /// What its status says now, of the generation that it has; nothing if no agent has judged that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_now: Option<bool>,
    /// What is wrong with it.
    pub problems: Vec<String>,
}

impl Finding {
    /// Whether an upgrade would change what becomes of it, as far as its status tells.
    pub fn is_news(&self) -> bool {
        self.accepted_now != Some(false)
    }
}

/// Judges every object of an API server that tells Brindle what to do.
///
/// # Errors
/// The API server does not answer or refuses.
pub fn of_server(connection: &Connection) -> Result<Vec<Finding>> {
    // What others are there makes an object suspicious at most, not unacceptable.
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| kind.has_status()).collect();
    let read = kubernetes::read_kinds(connection, &kinds)?;
    let mut found = Vec::new();
    for (key, report) in &read.changes.objects {
        let Some(report) = report.as_deref().filter(|report| !report.is_accepted()) else {
            continue;
        };
        let accepted_now = kubernetes::accepted(connection, key);
        let accepted_now = accepted_now.with_context(|| format!("read the status of {key}"))?;
        let problems = report.problems.iter().map(ToString::to_string).collect();
        found.push(Finding { object: key.to_string(), accepted_now, problems });
    }
    Ok(found)
}

/// Writes what was found.
///
/// # Errors
/// It cannot be written in the format.
pub fn render(found: &[Finding], format: Format) -> Result<String> {
    output::render(format, &found, || {
        if found.is_empty() {
            return "this version accepts every object\n".to_owned();
        }
        let rows = found.iter().map(|Finding { object, accepted_now, problems }| {
            let now = match accepted_now {
                Some(true) => "yes",
                Some(false) => "no",
                None => "not judged",
            };
            vec![object.clone(), now.to_owned(), problems.join("; ")]
        });
        output::table(&["OBJECT", "ACCEPTED NOW", "PROBLEMS"], rows)
    })
}
