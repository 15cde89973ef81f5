//! A node that reflects: every client has four blocks, and is told of those of all others.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::crowd::Crowd;
use super::feed::{BLOCKS, Feed};
use super::session::Session;
use super::subject::{OUR_AS, Plan, Subject};
use super::{Lab, PATIENCE};
use crate::row::Row;

/// Clients.
const CLIENTS: usize = 1_000;

struct Run {
    seconds: f64,
    cpu: f64,
    memory: f64,
}

/// All clients speak at once.
///
/// # Errors
/// Somebody is not told of something.
pub fn reflection(lab: &Lab) -> Result<Vec<Row>> {
    let plan = Plan { senders: CLIENTS, reflector: true, ..Plan::default() };
    let ours = run(lab, Subject::speaker(lab, &plan)?)?;
    let bird = run(lab, Subject::bird(lab, &plan)?)?;
    let pair = |case: &str, field: fn(&Run) -> f64, unit| {
        Row::paired(case, field(&ours), unit, field(&bird), field(&ours) / field(&bird))
    };
    Ok(vec![
        Row::absolute("1000 clients x 4 reflected", ours.seconds, "s"),
        Row::absolute("1000 clients x 4 reflected, memory in all", ours.memory, "MiB"),
        pair("1000 clients x 4 reflected, beside BIRD", |run| run.seconds, "s"),
        pair("their processor time, beside BIRD", |run| run.cpu, "s"),
        pair("their memory in all, beside BIRD", |run| run.memory, "MiB"),
    ])
}

fn run(lab: &Lab, mut subject: Subject) -> Result<Run> {
    // One after another: BIRD loses some of a herd.
    let sessions = Session::open_each(&lab.outside, CLIENTS, OUR_AS)?;
    ensure!(sessions.len() == CLIENTS, "{} of {CLIENTS} sessions", sessions.len());
    let each = (0..CLIENTS).map(Feed::of_client).collect::<Result<Vec<_>>>()?;
    let blocks = CLIENTS * usize::try_from(BLOCKS)?;
    let (base, shift) = (each[0].base, each[0].shift);
    let octets: Vec<Vec<u8>> = each.into_iter().map(|feed| feed.announcements.concat()).collect();
    let mut crowd = Crowd::start(sessions, base, shift, blocks)?;
    subject.settle()?;
    let cpu = subject.cpu()?;
    let start = Instant::now();
    crowd.write(&octets)?;
    // Nobody is told of its own.
    crowd.until(CLIENTS * (blocks - usize::try_from(BLOCKS)?), PATIENCE)?;
    let seconds = start.elapsed().as_secs_f64();
    subject.settle()?;
    Ok(Run { seconds, cpu: subject.cpu()? - cpu, memory: subject.memory()? })
}
