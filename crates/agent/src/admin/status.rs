//! The agent at a glance.

use brindle_bgp_speaker::Status;
use brindle_compiler::Compiler;
use brindle_dataplane_core::{DriverState, DriverStatus};
use brindle_model::admin::{BgpSummary, CompiledStatus, NodeStatus, TableStatus};

use super::Sources;
use crate::cni_server::ports::Stopped;

/// Puts the status together.
pub fn node(sources: &Sources, bgp: &Status) -> Result<NodeStatus, Stopped> {
    let compiled = sources.pipeline.inspect(compiled)?;
    let leases = sources.ipam.leases();
    let applied = sources.pipeline.applied();
    let mut problems = problems(sources);
    if applied.is_none() {
        problems.push("the first complete ruleset is not enforced yet".to_owned());
    }
    if let Some(error) = &bgp.listen_error {
        problems.push(format!("BGP cannot listen everywhere: {error}"));
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
        bgp: summary(bgp),
        blocks: sources.ipam.blocks().len(),
        addresses: leases.values().map(Vec::len).sum(),
        resident_kib: resident_kib(),
    })
}

/// What is wrong with the kernel tables, and with connections that are to be judged again.
pub fn problems(sources: &Sources) -> Vec<String> {
    let tables = [sources.dataplane.status(), sources.routes.status()];
    let problem = |table: DriverStatus| {
        let error = table.last_error.unwrap_or_default();
        match table.state {
            DriverState::Failing => Some(format!("{}: {error}", table.table)),
            DriverState::Stopped => Some(format!("{}: its thread has ended", table.table)),
            DriverState::WaitingForSync | DriverState::Running => None,
        }
    };
    let connections = sources.connections.status().last_error;
    let connections = connections.map(|error| format!("existing connections: {error}"));
    tables.into_iter().filter_map(problem).chain(connections).collect()
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
