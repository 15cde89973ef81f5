//! A program that outlives the agent which started it: iptables-restore waits for the lock of
//! ip_tables while the agent is killed, and writes afterwards. The next agent must not read before
//! that, or it takes for its own what is about to be overwritten.

use std::fs::{self, File};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

use brindle_integration_tests::single_node::{ONE_PORT, SingleNode};
use brindle_lab::process::wait_until;

const OPTIONS: &[&str] = &["--dataplane", "iptables-legacy"];
/// What the agent's log says while it waits.
const WAITING: &str = "waiting for a program that an agent started which was killed";

/// The programs that a process has started.
fn children(parent: i32) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(process) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        // One that ends meanwhile is none.
        let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else { continue };
        let Some((name, rest)) = stat.rsplit_once(')') else { continue };
        let its_parent = rest.split_whitespace().nth(1).and_then(|word| word.parse::<i32>().ok());
        if its_parent == Some(parent) && name.contains("iptables-") {
            found.push(process);
        }
    }
    Ok(found)
}

#[test]
fn the_next_agent_waits_for_a_program_of_one_that_was_killed() -> Result<()> {
    let mut node = SingleNode::build("brd-late", "iptables-legacy")?;
    let whole = node.kernel()?;
    let log = node.fabric.dir.join("n1/agent.log");
    // Others' programs wait for it as well, so it is held no longer than needed.
    let file = File::options().create(true).append(true).open("/run/xtables.lock")?;
    let held = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    node.write_policy("ingress: [{ports: [{port: 7777}]}]")?;
    let agent = node.agent()?.pid();
    let mut waiting = Vec::new();
    wait_until(Duration::from_secs(5), "a program to wait for the lock", || {
        waiting = children(agent)?;
        Ok(!waiting.is_empty())
    })?;
    node.fabric.nodes[0].agent.take().context("no agent")?.end(Signal::SIGKILL)?;
    node.write_policy(ONE_PORT)?;
    let is_there = |process: &i32| fs::metadata(format!("/proc/{process}")).is_ok();
    ensure!(waiting.iter().all(is_there), "the program has ended with the agent");
    let fabric = &mut node.fabric;
    std::thread::scope(|scope| -> Result<()> {
        let start = scope.spawn(|| fabric.start_agent_with(0, OPTIONS));
        let told = wait_until(Duration::from_secs(5), "the next agent to wait", || {
            Ok(fs::read_to_string(&log)?.contains(WAITING))
        });
        let ready = start.is_finished();
        let alive = waiting.iter().all(is_there);
        drop(held);
        start.join().map_err(|_| anyhow::anyhow!("the starter panicked"))??;
        told?;
        ensure!(alive && !ready, "the next agent did not wait: {alive} {ready}");
        Ok(())
    })?;
    node.agent()?.barrier()?;
    // What the program wrote was another policy, of which nothing is left.
    ensure!(node.counted("writes")? > 0, "the program wrote nothing: the test shows nothing");
    ensure!(node.kernel()? == whole, "left over:\n{}\ninstead of\n{whole}", node.kernel()?);
    node.end()
}
