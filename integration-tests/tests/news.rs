//! Somebody changes so much of nf_tables that the kernel has no room for the news of it, and our rules
//! with it: what was lost may have been about ours, so it is read back.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use brindle_integration_tests::single_node::SingleNode;
use brindle_lab::process::wait_until;

/// Much less than the pause between two read-backs, a minute.
const LIMIT: Duration = Duration::from_secs(10);
/// `NETLINK_NETFILTER`.
const NETFILTER: &str = "12";
/// The bit of `NFNLGRP_NFTABLES`.
const NEWS: u32 = 1 << 6;
/// Elements of a set that is filled and emptied.
const ELEMENTS: u32 = 60_000;

/// How many messages the kernel had no room for, of those that the agent listens to.
fn lost(agent: i32) -> Result<u64> {
    let sockets = fs::read_to_string(format!("/proc/{agent}/net/netlink"))?;
    let mut lost = None;
    for line in sockets.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, protocol, _, groups, _, _, _, _, drops, ..] = words[..] else { continue };
        if protocol == NETFILTER && u32::from_str_radix(groups, 16)? & NEWS != 0 {
            *lost.get_or_insert(0) += drops.parse::<u64>()?;
        }
    }
    lost.context("the agent listens to no news")
}

/// Runs something while the agent stands still, so that it reads nothing.
fn stopped<T>(agent: i32, work: impl FnOnce() -> Result<T>) -> Result<T> {
    kill(Pid::from_raw(agent), Signal::SIGSTOP)?;
    let done = work();
    kill(Pid::from_raw(agent), Signal::SIGCONT)?;
    done
}

fn is_read_back(name: &str, dataplane: &str, damage: &[&str]) -> Result<()> {
    let node = SingleNode::build_with(name, dataplane, &["--existing-connections", "keep"])?;
    let whole = node.kernel()?;
    let agent = node.agent()?.pid();
    ensure!(lost(agent)? == 0, "news were lost before");
    let repairs = node.counted("repairs")?;
    let fill = node.fabric.dir.join("fill.nft");
    let element = |n: u32| format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255);
    let elements: Vec<_> = (0..ELEMENTS).map(element).collect();
    let text = format!(
        "table inet others {{\n set s {{ type ipv4_addr; elements = {{ {} }} }}\n}}\n\
         delete table inet others\n",
        elements.join(", ")
    );
    fs::write(&fill, format!("{text}table inet others {{\n}}\n"))?;
    let fill = fill.display().to_string();
    let found = stopped(agent, || {
        wait_until(Duration::from_secs(60), "the kernel to lose news", || {
            node.run("nft", &["-f", &fill])?;
            Ok(lost(agent)? > 0)
        })?;
        let before = lost(agent)?;
        node.run(damage[0], &damage[1..])?;
        ensure!(lost(agent)? > before, "the news of the damage was not lost");
        ensure!(node.kernel()? != whole, "no damage");
        lost(agent)
    });
    let found = found?;
    let start = Instant::now();
    node.wait_counted("repairs", repairs)?;
    wait_until(LIMIT, "our rules to be whole", || Ok(node.kernel()? == whole))?;
    println!("{dataplane}: {found} messages lost, repaired in {:?}", start.elapsed());
    node.end()
}

#[test]
fn lost_news_are_read_back_with_nftables() -> Result<()> {
    is_read_back("brd-news-a", "nftables", &["nft", "flush", "chain", "inet", "brindle", "forward"])
}

#[test]
fn lost_news_are_read_back_with_iptables_nft() -> Result<()> {
    let damage = ["iptables-nft", "-D", "FORWARD", "-j", "BRINDLE-FORWARD"];
    is_read_back("brd-news-b", "iptables-nft", &damage)
}
