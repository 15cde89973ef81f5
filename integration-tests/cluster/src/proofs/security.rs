//! Who may reach the agent: root on the node and nobody else.

use std::net::TcpStream;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::pods::{Group, Wanted};
use super::{Row, Stage, api, node_netns};
use crate::node;
use crate::plan::{self, Family};

/// Sockets of the agent, and what to ask them.
const SOCKETS: [&str; 2] = ["/run/brindle/agent.sock", "/run/brindle/cni.sock"];
const ADMIN: &str = "127.0.0.1:9188";
/// What the socket serves to root; nothing of it may be had otherwise.
const PRIVATE: [&str; 8] = [
    "/status",
    "/drops",
    "/logged",
    "/hits",
    "/debug/ruleset",
    "/debug/endpoints",
    "/debug/ipam",
    "/debug/routes",
];
/// What a token of a ServiceAccount, and a private key, begin with.
const SECRETS: [&str; 3] = ["eyJ", "Bearer", "PRIVATE KEY"];

/// Asks as root, as nobody, and from a pod.
///
/// # Errors
/// The agents do not answer those who may ask.
pub fn run(stage: &Stage<'_>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for index in stage.nodes() {
        rows.push(modes(index)?);
        rows.push(as_nobody(index)?);
        rows.push(over_tcp(index)?);
    }
    rows.push(from_pods(stage)?);
    Ok(rows)
}

fn output(mut command: Command, what: &str) -> Result<(bool, String)> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("start {what}"))?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned()))
}

fn modes(index: usize) -> Result<Row> {
    let mut stat = node::enter(index, "stat")?;
    stat.args(["--format", "%a %u %g"]).args(SOCKETS);
    let (well, text) = output(stat, "stat")?;
    ensure!(well, "node{index} has no sockets of the agent");
    let modes: Vec<_> = text.lines().collect();
    let holds = modes.len() == SOCKETS.len() && modes.iter().all(|line| *line == "600 0 0");
    let what = format!("{}: mode, owner and group of the sockets", plan::node_name(index));
    Ok(Row::verdict(what, "600 0 0", modes.join(", "), holds))
}

/// `curl` over a socket of node `index`, as this user.
fn curl(index: usize, user: u32, socket: &str, path: &str) -> Result<(bool, String)> {
    let mut command = node::enter(index, "setpriv")?;
    let user = user.to_string();
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]);
    command.args(["curl", "-s", "-m", "5", "--unix-socket", socket]);
    command.arg(format!("http://agent{path}"));
    output(command, "setpriv and curl")
}

fn as_nobody(index: usize) -> Result<Row> {
    // Else the refusal below would prove nothing.
    let (well, _) = curl(index, 0, SOCKETS[0], "/status")?;
    ensure!(well, "root cannot ask the agent of node{index}");
    let mut reached = Vec::new();
    for socket in SOCKETS {
        let (well, _) = curl(index, 65534, socket, "/status")?;
        reached.extend(well.then_some(socket));
    }
    let what = format!("{}: sockets that an unprivileged user can ask", plan::node_name(index));
    Ok(Row::verdict(
        what,
        "0",
        format!("{} of {}", reached.len(), SOCKETS.len()),
        reached.is_empty(),
    ))
}

fn over_tcp(index: usize) -> Result<Row> {
    let netns = node_netns(index);
    let metrics = api::get(&netns, ADMIN, "/metrics")?;
    ensure!(metrics.code == 200, "metrics of node{index}: {}", metrics.code);
    let mut reached = Vec::new();
    for path in PRIVATE {
        let answer = api::get(&netns, ADMIN, path)?;
        reached.extend((answer.code != 404).then(|| format!("{path} {}", answer.code)));
    }
    let secrets = SECRETS.iter().filter(|word| metrics.body.contains(**word));
    reached.extend(secrets.map(|word| format!("{word} in /metrics")));
    let what = format!("{}: more than health and metrics over TCP", plan::node_name(index));
    let measured = if reached.is_empty() { "nothing".to_owned() } else { reached.join(", ") };
    Ok(Row::verdict(what, "nothing", measured, reached.is_empty()))
}

/// From a pod, every address of every node.
fn from_pods(stage: &Stage<'_>) -> Result<Row> {
    let wanted = Wanted { name: "curious".to_owned(), node: 1, labels: json!({}) };
    let group = Group::start(&stage.kubectl, "proof-security", Vec::new(), &[wanted])?;
    let netns = &group.site("curious")?.netns;
    let (mut tried, mut reached) = (0, Vec::new());
    for index in stage.nodes() {
        for family in stage.shape.families.each() {
            let host = family.in_url(&family.node(index));
            // The kubelet answers pods, over IPv4; that shows that there is a way.
            let kubelet = format!("{host}:10250");
            let asked = netns.enter(|| TcpStream::connect(&kubelet).is_ok())?;
            ensure!(asked || *family == Family::V6, "a pod does not reach {kubelet}");
            let agent = format!("{host}:9188");
            tried += 1;
            if api::get(netns, &agent, "/metrics").is_ok() {
                reached.push(agent);
            }
        }
    }
    let measured = format!("{} of {tried}", reached.len());
    Ok(Row::verdict("agents that a pod can ask over TCP", "0", measured, reached.is_empty()))
}
