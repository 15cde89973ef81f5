//! Connections that were admitted before policy changed (K33), with real packets through a real
//! agent: what is revoked stops within a second of `Applied`, what stays allowed loses nothing.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use brindle_dataplane_core::REVOKED_MARK;
use brindle_lab::agent::binary;
use brindle_lab::conversation::{Call, Conversation, Ping, Way};
use brindle_lab::fabric::Fabric;
use brindle_lab::netns::Netns;
use brindle_lab::objects;
use brindle_lab::pod::Pod;
use brindle_lab::ports;
use brindle_lab::process::wait_until;
use nix::sys::signal::Signal;
use serde_json::Value;

/// How long a revoked flow may go on after `Applied`.
const LIMIT: Duration = Duration::from_secs(1);

/// One node with three pods, which are roles.
struct Lab {
    fabric: Fabric,
    client: Pod,
    other: Pod,
    server: Pod,
    port: Cell<u16>,
}

impl Lab {
    fn build(name: &str) -> Result<Self> {
        let fabric = Fabric::build(name, &PathBuf::from("/run").join(name), 1)?;
        fabric.write("namespaces.yaml", &objects::namespace("shop", "retail"))?;
        let pod = |pod: &'static str| {
            Pod::create(&fabric, 0, "shop", pod, |addresses| {
                objects::pod("shop", pod, pod, "n1", addresses)
            })
        };
        let (client, other, server) = (pod("client")?, pod("other")?, pod("server")?);
        Ok(Self { client, other, server, port: Cell::new(5000), fabric })
    }

    /// Writes a policy of pod `role` and waits until it is enforced. Returns when it was.
    fn apply(&self, role: &str, rest: &str) -> Result<Instant> {
        self.write(role, rest)?;
        self.agent()?.barrier()?;
        Ok(Instant::now())
    }

    fn write(&self, role: &str, rest: &str) -> Result<()> {
        let text = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
             metadata: {{name: of-{role}, namespace: shop}}\n\
             spec: {{podSelector: {{matchLabels: {{role: {role}}}}}, {rest}}}\n"
        );
        self.fabric.write(&format!("policies/{role}.yaml"), &text)
    }

    fn agent(&self) -> Result<&brindle_lab::agent::Agent> {
        self.fabric.nodes[0].agent.as_ref().context("no agent")
    }

    fn status(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.agent()?.ctl(&["status", "-o", "json"])?)?)
    }

    fn node(&self) -> &Netns {
        &self.fabric.nodes[0].netns
    }

    /// A conversation on ports of its own, with what `pod` calls.
    fn call<'a>(&self, from: &'a Pod, to: &'a Pod, v6: bool) -> Result<Call<'a>> {
        let port = self.port.replace(self.port.get() + 1);
        let server = SocketAddr::new(to.address(v6)?, port);
        let source = SocketAddr::new(from.address(v6)?, ports::fresh());
        Ok(Call { from: &from.netns, source, to: &to.netns, server, target: server })
    }

    fn rules(&self) -> Result<String> {
        let arguments = ["-s", "list", "table", "inet", "brindle"];
        let listed = self.node().command("nft").args(arguments).output()?;
        ensure!(listed.status.success(), "nft list failed");
        Ok(String::from_utf8_lossy(&listed.stdout).into_owned())
    }

    /// Loads a table of somebody else's on the node.
    fn load(&self, table: &str) -> Result<()> {
        let loaded = self.node().command("nft").arg(table).output()?;
        ensure!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
        Ok(())
    }

    /// Whether the table has rules for revoked connections.
    fn stops_revoked(&self) -> Result<bool> {
        Ok(self.rules()?.contains("revoked connection"))
    }

    /// The marks of all tracked connections of a source port.
    fn marks(&self, source: SocketAddr) -> Result<Vec<u32>> {
        let family = if source.is_ipv6() { "ipv6" } else { "ipv4" };
        let port = source.port().to_string();
        let text = conntrack(self.node(), &["-L", "-f", family, "-p", "udp", "--sport", &port])?;
        let marks = text.split_whitespace().filter_map(|word| word.strip_prefix("mark="));
        Ok(marks.map(str::parse).collect::<Result<_, _>>()?)
    }

    fn restart(&mut self, signal: Signal, options: &[&str]) -> Result<()> {
        self.kill(signal)?;
        self.fabric.start_agent_with(0, options)
    }

    fn kill(&mut self, signal: Signal) -> Result<()> {
        self.fabric.nodes[0].agent.take().context("no agent")?.end(signal)
    }

    fn end(self) -> Result<()> {
        for pod in [self.client, self.other, self.server] {
            pod.delete(&self.fabric)?;
        }
        Ok(())
    }
}

fn conntrack(netns: &Netns, arguments: &[&str]) -> Result<String> {
    let output = netns.command("conntrack").args(arguments).output()?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "conntrack {}: {error}", arguments.join(" "));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Watches a direction fall silent in time.
fn stops(what: &str, way: &Way, applied: Instant) -> Result<()> {
    let last = way.wait_silent().with_context(|| what.to_owned())?;
    let late = last.saturating_duration_since(applied);
    ensure!(late <= LIMIT, "{what} went on for {late:?}");
    println!("{what}: stopped {late:?} after Applied");
    Ok(())
}

fn both_stop(what: &str, conversation: &Conversation, applied: Instant) -> Result<()> {
    for (direction, way) in ["there", "back"].into_iter().zip(&conversation.ways) {
        stops(&format!("{what} {direction}"), way, applied)?;
    }
    Ok(())
}

const FROM_BOTH: &str = "ingress: [{from: [{podSelector: {matchLabels: {role: client}}}, \
                         {podSelector: {matchLabels: {role: other}}}]}]";
const FROM_OTHER: &str = "ingress: [{from: [{podSelector: {matchLabels: {role: other}}}]}]";
const TO_NOBODY: &str = "policyTypes: [Egress]";
const TO_ANYBODY: &str = "policyTypes: [Egress], egress: [{}]";

#[test]
fn what_is_revoked_stops_and_what_is_allowed_loses_nothing() -> Result<()> {
    let lab = Lab::build("brd-conn-a")?;
    lab.apply("server", FROM_BOTH)?;
    lab.apply("client", TO_ANYBODY)?;
    let mut revoked = Vec::new();
    let mut pings = Vec::new();
    let mut allowed = Vec::new();
    let mut marked = Vec::new();
    for v6 in [false, true] {
        let udp = lab.call(&lab.client, &lab.server, v6)?;
        marked.push(udp.source);
        revoked.push((format!("udp v6={v6}"), Conversation::udp(&udp)?));
        let tcp = lab.call(&lab.client, &lab.server, v6)?;
        revoked.push((format!("tcp v6={v6}"), Conversation::tcp(&tcp)?));
        pings.push(Ping::start(&lab.client.netns, lab.server.address(v6)?)?);
        allowed.push(Conversation::udp(&lab.call(&lab.other, &lab.server, v6)?)?);
        allowed.push(Conversation::tcp(&lab.call(&lab.other, &lab.server, v6)?)?);
        // Somebody else's marks, in all connections of a family.
        let family = if v6 { "ipv6" } else { "ipv4" };
        let mark = "0x00ff0000/0x00ff0000";
        conntrack(lab.node(), &["-U", "-f", family, "-p", "udp", "--mark", mark])?;
    }
    ensure!(!lab.stops_revoked()?, "nothing is revoked");

    for (role, closed, open) in
        [("server", FROM_OTHER, FROM_BOTH), ("client", TO_NOBODY, TO_ANYBODY)]
    {
        let applied = lab.apply(role, closed)?;
        for (what, conversation) in &revoked {
            both_stop(&format!("{role}: {what}"), conversation, applied)?;
        }
        for ping in &pings {
            stops(&format!("{role}: ping"), &ping.way, applied)?;
        }
        ensure!(lab.stops_revoked()?, "rules for what is revoked");
        ensure!(lab.status()?["connections"]["revoked"] == 6, "{}", lab.status()?);
        for source in &marked {
            ensure!(lab.marks(*source)? == [0x00ff_0000 | REVOKED_MARK], "other bits changed");
        }
        lab.apply(role, open)?;
        for way in revoked.iter().flat_map(|(_, conversation)| &conversation.ways) {
            way.wait()?;
        }
        pings.iter().try_for_each(|ping| ping.way.wait())?;
        for source in &marked {
            ensure!(lab.marks(*source)? == [0x00ff_0000], "other bits changed");
        }
        wait_until(LIMIT, "the rules to go", || Ok(!lab.stops_revoked()?))?;
    }
    for conversation in allowed {
        ensure!(conversation.ways.iter().all(|way| way.received() > 500), "too little traffic");
        ensure!(conversation.end()? == [0, 0], "an allowed flow lost packets");
    }
    drop((revoked, pings));
    lab.end()
}

/// K30: what the node begins, and what it sends, is not policy's; what a pod sends to its node is.
#[test]
fn the_node_and_its_pods() -> Result<()> {
    let lab = Lab::build("brd-conn-b")?;
    let node = [&lab.fabric.nodes[0].v4, &lab.fabric.nodes[0].v6];
    let (mut from_node, mut to_node) = (Vec::new(), Vec::new());
    for (v6, address) in [false, true].into_iter().zip(node) {
        let address: IpAddr = address.parse()?;
        let call = lab.call(&lab.client, &lab.server, v6)?;
        let source = SocketAddr::new(address, ports::fresh());
        from_node.push(Conversation::tcp(&Call { from: lab.node(), source, ..call })?);
        let call = lab.call(&lab.client, &lab.server, v6)?;
        let server = SocketAddr::new(address, call.server.port());
        let call = Call { to: lab.node(), server, target: server, ..call };
        to_node.push(Conversation::udp(&call)?);
    }
    lab.apply("server", "policyTypes: [Ingress, Egress]")?;
    let applied = lab.apply("client", TO_NOBODY)?;
    for conversation in &to_node {
        let [there, back] = &conversation.ways;
        stops("to the node", there, applied)?;
        back.wait()?;
    }
    for conversation in from_node {
        conversation.ways.iter().try_for_each(|way| way.wait())?;
        ensure!(conversation.end()? == [0, 0], "what the node began lost packets");
    }
    drop(to_node);
    lab.end()
}

#[test]
fn what_was_revoked_while_no_agent_ran_stops_and_stays_stopped() -> Result<()> {
    let mut lab = Lab::build("brd-conn-c")?;
    lab.apply("server", FROM_BOTH)?;
    let v4 = Conversation::udp(&lab.call(&lab.client, &lab.server, false)?)?;
    let v6 = Conversation::tcp(&lab.call(&lab.client, &lab.server, true)?)?;
    lab.kill(Signal::SIGKILL)?;
    lab.write("server", FROM_OTHER)?;
    v4.ways[0].wait()?;
    lab.fabric.start_agent(0)?;
    let ready = Instant::now();
    both_stop("udp", &v4, ready)?;
    both_stop("tcp", &v6, ready)?;

    let heard = [&v4.ways[0], &v4.ways[1], &v6.ways[0], &v6.ways[1]].map(|way| way.received());
    let rules = lab.rules()?;
    lab.restart(Signal::SIGKILL, &[])?;
    wait_until(Duration::from_secs(5), "a pass", || {
        Ok(lab.status()?["connections"]["revoked"] == 2)
    })?;
    ensure!(lab.rules()? == rules, "a restart changed the rules");
    ensure!(lab.status()?["dataplane"]["writes"] == 0, "a restart wrote: {}", lab.status()?);
    let after = [&v4.ways[0], &v4.ways[1], &v6.ways[0], &v6.ways[1]].map(|way| way.received());
    ensure!(after == heard, "a revoked flow passed during a restart");

    // Told to keep connections, an agent gives up what its predecessor stopped.
    lab.restart(Signal::SIGTERM, &["--existing-connections", "keep"])?;
    for way in v4.ways.iter().chain(&v6.ways) {
        way.wait()?;
    }
    wait_until(LIMIT, "the rules to go", || Ok(!lab.stops_revoked()?))?;
    drop((v4, v6));
    lab.end()
}

#[test]
fn uninstalling_leaves_no_mark() -> Result<()> {
    let mut lab = Lab::build("brd-conn-h")?;
    lab.apply("server", FROM_BOTH)?;
    let call = lab.call(&lab.client, &lab.server, false)?;
    let source = call.source;
    let conversation = Conversation::udp(&call)?;
    lab.apply("server", FROM_OTHER)?;
    wait_until(LIMIT, "the mark", || Ok(lab.marks(source)? == [REVOKED_MARK]))?;
    lab.kill(Signal::SIGTERM)?;
    let run = lab.fabric.dir.join("n1");
    let agent = binary("brindle-agent");
    let mut command = lab.node().command(agent.to_str().context("a path in UTF-8")?);
    command.arg("uninstall").arg("--run-dir").arg(&run).arg("--state-dir").arg(run.join("state"));
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    ensure!(lab.marks(source)? == [0], "the mark stayed");
    drop(conversation);
    Ok(())
}

#[test]
fn kept_if_so_told() -> Result<()> {
    let mut lab = Lab::build("brd-conn-d")?;
    lab.restart(Signal::SIGTERM, &["--existing-connections", "keep"])?;
    lab.apply("server", FROM_BOTH)?;
    let kept = [
        Conversation::udp(&lab.call(&lab.client, &lab.server, false)?)?,
        Conversation::tcp(&lab.call(&lab.client, &lab.server, true)?)?,
    ];
    lab.apply("server", FROM_OTHER)?;
    ensure!(Conversation::tcp(&lab.call(&lab.client, &lab.server, true)?).is_err(), "a new flow");
    ensure!(lab.status()?["connections"]["existing"] == "keep", "{}", lab.status()?);
    for conversation in kept {
        conversation.ways.iter().try_for_each(|way| way.wait())?;
        ensure!(conversation.end()? == [0, 0], "a kept flow lost packets");
    }
    lab.end()
}

/// Connection tracking remembers a connection that its server reset for ten seconds, and takes a
/// SYN on its tuple for part of it.
#[test]
fn a_reset_connection_opens_no_door() -> Result<()> {
    let mut lab = Lab::build("brd-conn-e")?;
    for (option, admitted) in [("keep", true), ("reevaluate", false)] {
        lab.restart(Signal::SIGTERM, &["--existing-connections", option])?;
        lab.apply("server", FROM_BOTH)?;
        for v6 in [false, true] {
            let call = lab.call(&lab.client, &lab.server, v6)?;
            ensure!(knock(&call)?, "not admitted at first");
            lab.apply("server", FROM_OTHER)?;
            let judged = |revoked: u32| {
                // A kept connection is not judged.
                let revoked = if admitted { 0 } else { revoked };
                wait_until(LIMIT, "the remains of the connection to be judged", || {
                    Ok(lab.status()?["connections"]["revoked"] == revoked)
                })
            };
            judged(1)?;
            ensure!(knock(&call)? == admitted, "{option}, v6={v6}: a SYN on a reset tuple");
            lab.apply("server", FROM_BOTH)?;
            judged(0)?;
            conntrack(lab.node(), &["-F"])?;
        }
    }
    lab.end()
}

/// Whether a SYN arrives. The server resets what it accepts.
fn knock(call: &Call<'_>) -> Result<bool> {
    use socket2::{Domain, Socket, Type};
    let domain = Domain::for_address(call.server);
    let listener = call.listen(Duration::from_millis(700))?;
    let caller = call.from.enter(|| -> Result<Socket> {
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&call.source.into())?;
        let _ = socket.connect(&call.server.into());
        Ok(socket)
    })??;
    let Ok((accepted, _)) = listener.accept() else { return Ok(false) };
    accepted.set_linger(Some(Duration::ZERO))?;
    drop(accepted);
    // The reset has come when the caller hears of it.
    caller.set_nonblocking(false)?;
    caller.set_read_timeout(Some(Duration::from_secs(2)))?;
    let reset = caller.recv(&mut [std::mem::MaybeUninit::new(0); 1]);
    ensure!(reset.is_err(), "the server did not reset");
    Ok(true)
}

/// K19, K25: a service's address is not what policy speaks of.
#[test]
fn a_service_is_judged_by_its_backend() -> Result<()> {
    let lab = Lab::build("brd-conn-f")?;
    lab.apply("server", FROM_BOTH)?;
    let mut conversations = Vec::new();
    let mut rules = String::new();
    let mut calls = Vec::new();
    for (tcp, service) in [(false, 80), (true, 81)] {
        let call = lab.call(&lab.client, &lab.server, false)?;
        let protocol = if tcp { "tcp" } else { "udp" };
        rules +=
            &format!("ip daddr 10.96.0.1 {protocol} dport {service} dnat to {}\n", call.server);
        calls.push((tcp, Call { target: SocketAddr::new("10.96.0.1".parse()?, service), ..call }));
    }
    lab.load(&format!(
        "table ip lb {{\nchain in {{\ntype nat hook prerouting priority -100\n{rules}}}\n}}\n"
    ))?;
    for (tcp, call) in &calls {
        let start = if *tcp { Conversation::tcp } else { Conversation::udp };
        conversations.push((if *tcp { "tcp" } else { "udp" }, start(call)?));
    }
    // The service's address is admitted all the time; only the backend counts.
    let to_service = "policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.96.0.1/32}}]}]";
    let to_server = "policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]";
    lab.apply("client", to_server)?;
    let before: Vec<u64> = conversations.iter().map(|(_, c)| c.ways[0].received()).collect();
    conversations.iter().flat_map(|(_, c)| &c.ways).try_for_each(|way| way.wait())?;
    ensure!(lab.status()?["connections"]["revoked"] == 0, "allowed through the service");
    let applied = lab.apply("client", to_service)?;
    for ((protocol, conversation), before) in conversations.iter().zip(before) {
        both_stop(protocol, conversation, applied)?;
        ensure!(conversation.ways[0].received() > before, "it went on until then");
    }
    drop(conversations);
    lab.end()
}

/// K32: `ct state related` admits what a connection announces, here the data connection of passive
/// FTP. It stays as long as its control connection may, and goes with it.
#[test]
fn what_a_connection_announced_goes_with_it() -> Result<()> {
    let lab = Lab::build("brd-conn-g")?;
    lab.load(
        "table inet help {\nct helper ftp {\ntype \"ftp\" protocol tcp\n}\nchain in {\n\
         type filter hook prerouting priority 0\ntcp dport 21 ct helper set \"ftp\"\n}\n}\n",
    )?;
    let control = "ingress: [{from: [{podSelector: {matchLabels: {role: client}}}], \
                   ports: [{port: 21}]}]";
    let control_and_more = "ingress: [{from: [{podSelector: {matchLabels: {role: client}}}], \
                            ports: [{port: 21}, {port: 22}]}]";
    lab.apply("server", control)?;
    let data = lab.call(&lab.client, &lab.server, false)?;
    ensure!(Conversation::tcp(&data).is_err(), "the data port is not admitted by itself");

    let address = lab.server.address(false)?;
    let listener = lab.server.netns.enter(|| TcpListener::bind((address, 21)))??;
    let mut client = lab.client.netns.enter(|| TcpStream::connect((address, 21)))??;
    let (mut server, _) = listener.accept()?;
    let port = data.server.port();
    let host = address.to_string().replace('.', ",");
    let passive = format!("227 Entering Passive Mode ({host},{},{})\r\n", port / 256, port % 256);
    // The kernel reads what follows a line that it has seen.
    for line in ["220 ready\r\n", &passive] {
        server.write_all(line.as_bytes())?;
        client.read_exact(&mut vec![0; line.len()])?;
    }
    let data = Call { source: SocketAddr::new(data.source.ip(), ports::fresh()), ..data };
    let announced = Conversation::tcp(&data).context("the announced connection")?;
    let passes = |least: u64| {
        wait_until(LIMIT * 5, "a pass", || {
            Ok(lab.status()?["connections"]["passes"].as_u64() >= Some(least))
        })
    };
    lab.apply("server", control_and_more)?;
    passes(lab.status()?["connections"]["passes"].as_u64().unwrap_or(0) + 1)?;
    announced.ways.iter().try_for_each(|way| way.wait())?;
    ensure!(lab.status()?["connections"]["revoked"] == 0, "{}", lab.status()?);
    let applied = lab.apply("server", FROM_OTHER)?;
    both_stop("announced", &announced, applied)?;
    drop(announced);
    lab.end()
}
