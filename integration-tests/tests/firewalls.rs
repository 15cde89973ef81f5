//! Real firewalls on the same node: firewalld and ufw start, load their rules anew, and stop. Pods go
//! on to reach what policy admits and nothing else; nothing of theirs is touched.
//!
//! What a node's administrator must say, here as with any other network of containers: a firewall
//! that drops or rejects what is forwarded must let pods through where its verdict comes behind ours
//! (nftables has no way around another table's drop). For firewalld that is zone `trusted` for the
//! interfaces `brd+`, for ufw `default allow routed`; with an iptables dataplane ufw needs nothing.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use brindle_integration_tests::single_node::SingleNode;
use brindle_lab::conversation::{Call, Conversation};
use brindle_lab::openings::Openings;
use brindle_lab::ports;
use brindle_lab::process::{Daemon, wait_until};
use nix::sys::signal::Signal;

/// Longest time that a path may be open when a firewall throws away the rules of all.
const LIMIT: Duration = Duration::from_millis(500);

/// Without the rules that stop what used such a moment, which are there while such flows are.
const KEEP: &[&str] = &["--existing-connections", "keep"];

/// What is done to a firewall, one after the other.
type Acts<'a> = &'a [(&'a str, &'a dyn Fn(&SingleNode) -> Result<()>)];

fn lives_beside(mut node: SingleNode, acts: Acts<'_>) -> Result<()> {
    let target = |port| Ok::<_, anyhow::Error>(SocketAddr::new(node.server.address(false)?, port));
    let source = SocketAddr::new(node.client.address(false)?, ports::fresh());
    let (from, to) = (&node.client.netns, &node.server.netns);
    let call = Call { from, source, to, server: target(5432)?, target: target(5432)? };
    let admitted = Conversation::tcp(&call)?;
    let denied = Openings::watch(from, to, target(80)?)?;
    let whole = ours(&node.kernel()?);
    for (what, act) in acts {
        act(&node).with_context(|| (*what).to_owned())?;
        wait_until(Duration::from_secs(5), "our rules to be whole", || {
            Ok(ours(&node.kernel()?) == whole)
        })
        .with_context(|| (*what).to_owned())?;
        let open = denied.take();
        let open = match (open.first(), open.last()) {
            (Some(first), Some(last)) => *last - *first,
            _ => Duration::ZERO,
        };
        ensure!(open <= LIMIT, "{what}: open for {open:?}");
        for way in &admitted.ways {
            way.wait().with_context(|| (*what).to_owned())?;
        }
        // New ones are admitted as well, and no more than those.
        let source = SocketAddr::new(node.client.address(false)?, ports::fresh());
        let new =
            Conversation::udp(&Call { source, ..call }).with_context(|| (*what).to_owned())?;
        new.end()?;
        ensure!(denied.take().is_empty(), "{what}: still open");
    }
    denied.end()?;
    drop(admitted);
    let theirs = theirs(&node)?;
    node.uninstall()?;
    ensure!(
        !node.run("nft", &["list", "ruleset"])?.to_lowercase().contains("brindle"),
        "left over"
    );
    ensure!(self::theirs(&node)? == theirs, "uninstall changed their rules");
    Ok(())
}

/// Lines about our chains and sets; all of the table `inet brindle`.
fn ours(kernel: &str) -> String {
    let table = kernel.contains("table inet brindle");
    let lines = kernel.lines().filter(|line| table || line.to_lowercase().contains("brindle"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Everything else, without counters.
fn theirs(node: &SingleNode) -> Result<String> {
    let mut text = String::new();
    for table in node.run("nft", &["list", "tables"])?.lines() {
        if table != "table inet brindle" {
            let words: Vec<_> = ["-s", "list"].into_iter().chain(table.split(' ')).collect();
            text += &node.run("nft", &words)?;
        }
    }
    let foreign = |line: &&str| !line.to_lowercase().contains("brindle");
    // What stands in a chain of ours has no name of ours in it.
    let mut inside = false;
    let mut kept = Vec::new();
    for line in text.lines() {
        if line.contains("chain BRINDLE-") {
            inside = true;
        }
        if !inside && foreign(&line) && !line.trim().is_empty() {
            kept.push(line);
        }
        if line == "\t}" {
            inside = false;
        }
    }
    Ok(kept.join("\n"))
}

/// ufw with a configuration of its own, in whose place the machine's is not touched.
struct Ufw {
    folder: PathBuf,
}

impl Ufw {
    fn new(node: &SingleNode) -> Result<Self> {
        let folder = node.fabric.dir.join("ufw");
        let copied = Command::new("cp").arg("-a").arg("/etc/ufw").arg(&folder).status()?;
        ensure!(copied.success(), "is the Debian package ufw installed?");
        fs::copy("/etc/default/ufw", folder.join("default"))?;
        Ok(Self { folder })
    }

    fn run(&self, node: &SingleNode, words: &[&str]) -> Result<()> {
        let folder = self.folder.display();
        let script = format!(
            "mount --make-rprivate / && mount --bind {folder}/default /etc/default/ufw && \
             mount --bind {folder} /etc/ufw && exec ufw {}",
            words.join(" ")
        );
        node.run("unshare", &["-m", "sh", "-c", &script]).map(drop)
    }
}

fn beside_ufw(name: &str, dataplane: &str) -> Result<()> {
    let node = SingleNode::build_with(name, dataplane, KEEP)?;
    let ufw = Ufw::new(&node)?;
    if dataplane == "nftables" {
        ufw.run(&node, &["default", "allow", "routed"])?;
    }
    lives_beside(
        node,
        &[
            ("ufw starts", &|node| ufw.run(node, &["--force", "enable"])),
            ("ufw gets a rule", &|node| ufw.run(node, &["allow", "22/tcp"])),
            ("ufw loads its rules anew", &|node| ufw.run(node, &["reload"])),
            ("ufw stops", &|node| ufw.run(node, &["disable"])),
            ("ufw starts again", &|node| ufw.run(node, &["--force", "enable"])),
        ],
    )
}

#[test]
fn nftables_lives_beside_ufw() -> Result<()> {
    beside_ufw("brd-fw-a", "nftables")
}

#[test]
fn iptables_nft_lives_beside_ufw() -> Result<()> {
    beside_ufw("brd-fw-b", "iptables-nft")
}

/// firewalld, on a message bus of its own.
struct Firewalld {
    folder: PathBuf,
    _bus: Daemon,
}

const BUS: &str = "\
<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\"
 \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">
<busconfig>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context=\"default\">
    <allow send_destination=\"*\" eavesdrop=\"true\"/>
    <allow eavesdrop=\"true\"/><allow own=\"*\"/><allow user=\"*\"/>
  </policy>
</busconfig>
";

impl Firewalld {
    fn new(node: &SingleNode, backend: &str) -> Result<Self> {
        let folder = node.fabric.dir.join("firewalld");
        let copied = Command::new("cp").arg("-a").arg("/etc/firewalld").arg(&folder).status()?;
        ensure!(copied.success(), "is the Debian package firewalld installed?");
        let path = folder.join("firewalld.conf");
        let configured = fs::read_to_string(&path)?.lines().fold(String::new(), |text, line| {
            let line = if line.starts_with("FirewallBackend=") {
                format!("FirewallBackend={backend}")
            } else {
                line.to_owned()
            };
            text + &line + "\n"
        });
        fs::write(path, configured)?;
        let zone = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
                    <zone target=\"ACCEPT\"><interface name=\"brd+\"/></zone>\n";
        fs::create_dir_all(folder.join("zones"))?;
        fs::write(folder.join("zones/trusted.xml"), zone)?;
        let socket = folder.join("bus");
        let config = folder.join("bus.conf");
        fs::write(&config, BUS.replace("SOCKET", &socket.display().to_string()))?;
        let mut command = Command::new("dbus-daemon");
        command
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--nopidfile"]);
        let bus = Daemon::start("dbus-daemon", command, &folder.join("bus.log"))?;
        wait_until(Duration::from_secs(5), "the message bus", || Ok(socket.exists()))?;
        Ok(Self { folder, _bus: bus })
    }

    fn command(&self, node: &SingleNode, program: &str) -> Command {
        let mut command = node.fabric.nodes[0].netns.command(program);
        let address = format!("unix:path={}", self.folder.join("bus").display());
        command.env("DBUS_SYSTEM_BUS_ADDRESS", address);
        command
    }

    fn start(&self, node: &SingleNode) -> Result<Daemon> {
        let mut command = self.command(node, "firewalld");
        command.args(["--nofork", "--nopid", "--system-config"]).arg(&self.folder);
        command.arg("--log-file").arg(self.folder.join("firewalld.log"));
        let daemon = Daemon::start("firewalld", command, &self.folder.join("output.log"))?;
        wait_until(Duration::from_secs(20), "firewalld", || {
            Ok(self.command(node, "firewall-cmd").arg("--state").output()?.status.success())
        })?;
        Ok(daemon)
    }

    fn tell(&self, node: &SingleNode, words: &[&str]) -> Result<()> {
        let output = self.command(node, "firewall-cmd").args(words).output()?;
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "firewall-cmd {words:?}: {error}");
        Ok(())
    }
}

fn beside_firewalld(name: &str, dataplane: &str, backend: &str) -> Result<()> {
    let node = SingleNode::build_with(name, dataplane, KEEP)?;
    let firewalld = Firewalld::new(&node, backend)?;
    let running = std::cell::RefCell::new(None);
    lives_beside(
        node,
        &[
            ("firewalld starts", &|node| {
                running.replace(Some(firewalld.start(node)?));
                Ok(())
            }),
            ("firewalld gets a rule", &|node| firewalld.tell(node, &["--add-service=http"])),
            ("firewalld loads its rules anew", &|node| firewalld.tell(node, &["--reload"])),
            ("firewalld throws all away", &|node| firewalld.tell(node, &["--complete-reload"])),
            ("firewalld stops", &|_| {
                let daemon = running.take().context("it runs")?;
                daemon.end(Signal::SIGTERM, Duration::from_secs(20))
            }),
            ("firewalld starts again", &|node| {
                running.replace(Some(firewalld.start(node)?));
                Ok(())
            }),
        ],
    )
}

#[test]
fn nftables_lives_beside_firewalld() -> Result<()> {
    beside_firewalld("brd-fw-c", "nftables", "nftables")
}

#[test]
fn iptables_nft_lives_beside_firewalld() -> Result<()> {
    beside_firewalld("brd-fw-d", "iptables-nft", "nftables")
}

/// With this backend firewalld throws away the rules of all programs when it starts.
#[test]
fn iptables_nft_lives_beside_firewalld_with_iptables() -> Result<()> {
    beside_firewalld("brd-fw-e", "iptables-nft", "iptables")
}
