//! Requests of a millisecond, where `kubectl` would take a hundred: plain HTTP, to agents and, through
//! `kubectl proxy`, to the API server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use brindle_lab::netns::Netns;
use brindle_lab::process::{Daemon, wait_until};
use serde_json::Value;

use crate::kubectl::Kubectl;
use crate::plan::CONTROL;

/// Where the proxy listens, beside the control plane.
const PROXY: &str = "127.0.0.1:8001";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub code: u16,
    /// Status line and headers.
    pub head: String,
    /// Its body, as it came over the wire.
    pub body: String,
}

impl Answer {
    /// The value of a header, by its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut named = pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.trim())
    }
}

/// Asks an HTTP server once, on the thread's network namespace.
///
/// # Errors
/// It does not answer.
pub fn ask(server: SocketAddr, request: &str, body: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let length = body.len();
    let whole = format!(
        "{request}Host: {server}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(whole.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer has a head")?;
    let code = head.split_whitespace().nth(1).context("an answer has a status")?.parse()?;
    Ok(Answer { code, head: head.to_owned(), body: body.to_owned() })
}

/// Gets a path from a server that listens inside `netns`.
///
/// # Errors
/// It does not answer.
pub fn get(netns: &Netns, server: &str, path: &str) -> Result<Answer> {
    let server = server.parse()?;
    netns.enter(|| ask(server, &format!("GET {path} HTTP/1.1\r\n"), ""))?
}

/// The API server as administrator, by `kubectl proxy`; it ends with this.
#[derive(Debug)]
pub struct Api {
    _proxy: Daemon,
}

impl Api {
    /// Starts the proxy.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start(kubectl: &Kubectl, logs: &Path) -> Result<Self> {
        let command = kubectl.command(&["proxy", "--address=127.0.0.1", "--port=8001"]);
        let mut proxy = Daemon::start("kubectl proxy", command, &logs.join("proxy.log"))?;
        let netns = Netns::existing(CONTROL);
        wait_until(PATIENCE, "kubectl proxy to listen", || {
            ensure!(proxy.exited()?.is_none(), "kubectl proxy ended: see {}", logs.display());
            Ok(get(&netns, PROXY, "/version").is_ok_and(|answer| answer.code == 200))
        })?;
        Ok(Self { _proxy: proxy })
    }

    /// Merges a patch into an object. To be called [inside](Api::inside).
    ///
    /// # Errors
    /// The API server refused.
    pub fn merge(&self, path: &str, patch: &Value) -> Result<Answer> {
        let kind = "application/merge-patch+json";
        let request = format!("PATCH {path} HTTP/1.1\r\nContent-Type: {kind}\r\n");
        let answer = ask(PROXY.parse()?, &request, &patch.to_string())?;
        ensure!(answer.code == 200, "PATCH {path}: {} {}", answer.code, answer.body);
        Ok(answer)
    }

    /// Runs `work` on a thread from which the proxy can be asked.
    ///
    /// # Errors
    /// The cluster is gone, or the work failed.
    pub fn inside<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        Netns::existing(CONTROL).enter(work)?
    }
}
