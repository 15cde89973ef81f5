//! The agent at a glance.

use brindle_bgp_speaker::{Commands, Status};
use brindle_compiler::Compiler;
use brindle_dataplane_core::{Applied, DriverState, DriverStatus};
use brindle_model::admin::{BgpSummary, CompiledStatus, NodeStatus, TableStatus};

use super::Sources;
use crate::cni_server::ports::Stopped;

/// Puts the status together; of a speaker that has ended nothing is known.
pub fn node(sources: &Sources, bgp: Option<&Status>) -> Result<NodeStatus, Stopped> {
    let compiled = sources.pipeline.inspect(compiled)?;
    let leases = sources.ipam.leases();
    let applied = sources.pipeline.applied();
    let mut problems = problems(sources);
    if applied.is_none() {
        problems.push("the first complete ruleset is not enforced yet".to_owned());
    }
    if let Some(error) = bgp.and_then(|bgp| bgp.listen_error.as_ref()) {
        problems.push(format!("BGP cannot listen everywhere: {error}"));
    }
    problems.extend(bgp.and_then(|bgp| bgp.bfd_error.clone()));
    if let Some(broken) = bgp.map(|bgp| &bgp.speaker.broken).filter(|broken| !broken.is_empty()) {
        problems
            .push(format!("BGP: {} prefixes have no route after an internal error", broken.len()));
    }
    Ok(NodeStatus {
        node: sources.node.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        source: sources.source.clone(),
        uptime_seconds: sources.started.elapsed().as_secs_f64(),
        ready: applied.is_some(),
        problems,
        generation: sources.pipeline.generation(),
        applied,
        compiled,
        dataplane: table(sources.dataplane.status()),
        routes: table(sources.routes.status()),
        connections: sources.connections.status(),
        bgp: bgp.map(summary).unwrap_or_default(),
        blocks: sources.ipam.blocks().len(),
        addresses: leases.values().map(Vec::len).sum(),
        resident_kib: resident_kib(),
    })
}

/// What is wrong: every part of the agent that does not do its work. Only a restart mends a thread
/// that has ended, so this is what health is about.
pub fn problems(sources: &Sources) -> Vec<String> {
    let bgp = speaker_problem(&sources.bgp);
    let connections = sources.connections.status().last_error;
    let connections = connections.map(|error| format!("existing connections: {error}"));
    let tables = table_problems(&sources.dataplane, &sources.routes);
    tables.into_iter().chain(connections).chain(bgp).collect()
}

/// What is wrong with the kernel tables.
fn table_problems(dataplane: &Applied, routes: &Applied) -> Vec<String> {
    let tables = [dataplane.status(), routes.status()];
    let problem = |table: DriverStatus| {
        let error = table.last_error.unwrap_or_default();
        match table.state {
            DriverState::Failing => Some(format!("{}: {error}", table.table)),
            DriverState::Stopped => Some(format!("{}: its thread has ended", table.table)),
            DriverState::WaitingForSync | DriverState::Running => None,
        }
    };
    tables.into_iter().filter_map(problem).collect()
}

/// A speaker never ends by itself unless it panicked. Policy goes on without it, routes do not.
fn speaker_problem(bgp: &Commands) -> Option<String> {
    bgp.has_stopped().then(|| "bgp: its thread has ended; sessions are down".to_owned())
}

fn compiled(compiler: &Compiler) -> CompiledStatus {
    let ruleset = compiler.ruleset();
    CompiledStatus {
        endpoints: ruleset.endpoints.len(),
        programs: ruleset.programs.len(),
        policies: ruleset.policies.len(),
        sets: ruleset.sets.len(),
        members: ruleset.sets.values().map(|set| set.members.len()).sum(),
    }
}

fn table(status: DriverStatus) -> TableStatus {
    let state = match status.state {
        DriverState::WaitingForSync => "waitingForSync",
        DriverState::Running => "running",
        DriverState::Failing => "failing",
        DriverState::Stopped => "stopped",
    };
    TableStatus {
        name: status.table.to_owned(),
        state: state.to_owned(),
        applied: status.applied,
        commits: status.commits,
        writes: status.writes,
        resyncs: status.resyncs,
        drifted: status.drifted,
        repairs: status.repairs,
        failures: status.failures,
        last_error: status.last_error,
    }
}

fn summary(bgp: &Status) -> BgpSummary {
    let speaker = &bgp.speaker;
    BgpSummary {
        identity: speaker.identity,
        peers: speaker.peers.len(),
        established: speaker.peers.iter().filter(|peer| peer.session.is_some()).count(),
        originated: speaker.originated.len(),
        learned: speaker.learned,
        restarting: speaker.restarting,
    }
}

/// Resident memory; 0 where `/proc` does not tell.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use brindle_bgp_proto::family::FamilySet;
    use brindle_bgp_speaker::{Command, Config};

    use super::*;

    #[test]
    fn a_speaker_that_has_ended_is_a_problem() {
        let forwarding_preserved = FamilySet::NONE;
        let config = Config { restarting: false, forwarding_preserved, jitter_seed: 1 };
        let mut speaker = brindle_bgp_speaker::spawn(config).unwrap();
        assert_eq!(speaker_problem(&speaker.commands), None);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            speaker.commands.send(Command::Stop { graceful: true }).await.unwrap();
            while speaker.events.recv().await.is_some() {}
        });
        // The last event may come before the thread's end.
        let commands = speaker.commands.clone();
        speaker.join();
        let problem = speaker_problem(&commands).unwrap_or_default();
        assert!(problem.starts_with("bgp: its thread has ended"), "{problem}");
    }
}
