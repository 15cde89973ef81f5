//! Agents that read from a real API server.
//!
//! Run by `make conformance`, which has the Kubernetes programs; see `brindle_integration_tests::apiserver`.

use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use brindle_integration_tests::apiserver::ApiServer;
use brindle_integration_tests::cluster::Cluster;
use brindle_lab::agent::binary;
use brindle_lab::netns::Netns;
use brindle_lab::pod::Pod;
use brindle_lab::probe::{Kind, Probe, Rig};
use brindle_lab::process::wait_until;
use nix::sys::signal::Signal;

const DEADLINE: Duration = Duration::from_secs(20);

const ONLY_5432: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-5432, namespace: shop}
spec:
  podSelector: {matchLabels: {role: db}}
  ingress:
  - ports: [{protocol: TCP, port: 5432}]
";

/// Tries ports 80 and 5432 from one pod to another, over both families.
struct Path<'a> {
    rig: Rig,
    from: &'a Pod,
    to: &'a Pod,
}

impl<'a> Path<'a> {
    fn new(from: &'a Pod, to: &'a Pod) -> Result<Self> {
        let rig = Rig::new(&[from.netns.name(), to.netns.name()], &[80, 5432])?;
        Ok(Self { rig, from, to })
    }

    /// What passes now: port 80 in IPv4 and IPv6, port 5432 in both.
    fn open(&mut self) -> Result<[bool; 4]> {
        let mut probes = Vec::new();
        for port in [80, 5432] {
            for v6 in [false, true] {
                let (source, destination) = (self.from.address(v6)?, self.to.address(v6)?);
                probes.push(Probe { from: 0, source, destination, kind: Kind::Tcp(port) });
            }
        }
        let passed = self.rig.run(&probes)?;
        passed.try_into().map_err(|_| anyhow::anyhow!("a probe has no answer"))
    }

    fn becomes(&mut self, wanted: [bool; 4], why: &str) -> Result<()> {
        wait_until(DEADLINE, why, || Ok(self.open()? == wanted))
    }
}

const OPEN: [bool; 4] = [true; 4];
const CLOSED: [bool; 4] = [false; 4];
const ONLY_DB: [bool; 4] = [false, false, true, true];

fn block(address: IpAddr) -> Result<ipnet::IpNet> {
    let length = if address.is_ipv4() { 26 } else { 122 };
    Ok(ipnet::IpNet::new(address, length)?.trunc())
}

fn follows(name: &str, flags: &[&str]) -> Result<()> {
    let cluster = Cluster::build(name, flags)?;
    let server = &cluster.server;
    let (web, db) = (cluster.pod(0, "web")?, cluster.pod(1, "db")?);
    for (ours, theirs) in web.addresses.iter().zip(&db.addresses) {
        ensure!(block(*ours)? != block(*theirs)?, "two nodes share a block: {ours}, {theirs}");
    }
    let blocks = server.kubectl(&["get", "ipamblocks", "-o", "jsonpath={.items[*].spec.node}"])?;
    ensure!(blocks.split(' ').count() == 4, "blocks of {blocks}");

    let mut path = Path::new(&web, &db)?;
    path.becomes(OPEN, "the pods to reach each other without a policy")?;
    server.apply(ONLY_5432)?;
    path.becomes(ONLY_DB, "a NetworkPolicy to be enforced")?;
    explains(&cluster)?;
    server.kubectl(&["label", "pod", "-n", "shop", "db", "role=other", "--overwrite"])?;
    path.becomes(OPEN, "a pod's label to take it out of a policy")?;
    server.kubectl(&["label", "pod", "-n", "shop", "db", "role=db", "--overwrite"])?;
    path.becomes(ONLY_DB, "a pod's label to bring it back")?;
    server.apply(
        "apiVersion: brindle.io/v1alpha1\nkind: Tier\nmetadata: {name: first}\n\
         spec: {order: 1, defaultAction: Pass}\n---\n\
         apiVersion: brindle.io/v1alpha1\nkind: GlobalNetworkPolicy\n\
         metadata: {name: closed}\n\
         spec: {tier: first, selector: \"role == 'db'\", ingress: [{action: Deny}]}\n",
    )?;
    path.becomes(CLOSED, "a GlobalNetworkPolicy of an earlier tier to be enforced")?;
    server.kubectl(&["delete", "globalnetworkpolicy", "closed"])?;
    path.becomes(ONLY_DB, "a deleted policy to go")?;
    server.kubectl(&["delete", "networkpolicy", "-n", "shop", "only-5432"])?;
    path.becomes(OPEN, "the last policy to go")?;
    Ok(())
}

/// brindlectl judges by the API server's objects: those that the agent reads, without being told
/// where that is, and those of a kubeconfig without an agent.
fn explains(cluster: &Cluster) -> Result<()> {
    let node = &cluster.fabric.nodes[0];
    let agent = node.agent.as_ref().context("no agent")?.socket().display().to_string();
    let kubeconfig = cluster.server.kubeconfig(None)?.display().to_string();
    let program = binary("brindlectl").display().to_string();
    for origin in [["--socket", &agent], ["--kubeconfig", &kubeconfig]] {
        let ask = |question: &[&str]| {
            node.netns
                .command(&program)
                .env_remove("KUBECONFIG")
                .args(question)
                .args(origin)
                .output()
        };
        for (port, code, words) in
            [("80", 3, "NetworkPolicy shop/only-5432"), ("5432", 0, "NetworkPolicy shop/only-5432")]
        {
            let ran = ask(&["explain", "shop/web", "shop/db", "--port", port])?;
            let said = String::from_utf8_lossy(&ran.stdout);
            let same = ran.status.code() == Some(code) && said.contains(words);
            ensure!(same, "{origin:?} {port}: {ran:?}");
        }
        let ran = ask(&["get", "networkpolicies"])?;
        let said = String::from_utf8_lossy(&ran.stdout);
        ensure!(said.contains("shop/only-5432  yes"), "{origin:?}: {ran:?}");
    }
    Ok(())
}

#[test]
#[ignore = "needs kube-apiserver and etcd: make conformance"]
fn policies_of_an_api_server_are_enforced() -> Result<()> {
    follows("brd-k8s-a", &[])
}

#[test]
#[ignore = "needs kube-apiserver and etcd: make conformance"]
fn an_api_server_without_streamed_lists_is_listed_in_pages() -> Result<()> {
    follows("brd-k8s-b", &["--feature-gates=WatchList=false"])
}

const MISFITS: &str = "\
apiVersion: brindle.io/v1alpha1
kind: BGPPeer
metadata: {name: misfit}
spec: {peerIP: 192.0.2.77, asNumber: AS, localRole: Peer}
---
apiVersion: brindle.io/v1alpha1
kind: BGPPeer
metadata: {name: signed}
spec: {peerIP: 192.0.2.78, asNumber: 64999, password: {secretKeyRef: {name: tors, key: a}}}
---
apiVersion: v1
kind: Secret
metadata: {name: tors, namespace: brindle-system}
stringData: {a: s3cret}
";

const MAY_READ: &str = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: brindle-agent-passwords, namespace: brindle-system}
rules:
- {apiGroups: [\"\"], resources: [secrets], resourceNames: [tors], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: brindle-agent-passwords, namespace: brindle-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: brindle-agent-passwords}
subjects:
- {kind: ServiceAccount, name: brindle-agent, namespace: brindle-system}
";

/// A node tells of its sessions and why there is none: what does not fit it, and a password that it
/// may not read until a Role names the Secret.
#[test]
#[ignore = "needs kube-apiserver and etcd: make conformance"]
fn sessions_of_a_node_stand_in_an_object() -> Result<()> {
    let cluster = Cluster::build("brd-k8s-s", &[])?;
    let (server, node) = (&cluster.server, &cluster.fabric.nodes[0].name);
    let spec = || -> Result<serde_json::Value> {
        let arguments = ["get", "bgpnodestatuses", "-o", "json", "--ignore-not-found", node];
        let text = server.kubectl(&arguments)?;
        let object: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        Ok(object["spec"].clone())
    };
    wait_until(DEADLINE, "the sessions of the fabric to be told", || {
        let spec = spec()?;
        Ok(spec["established"].as_i64() >= Some(1) && spec["established"] == spec["sessions"])
    })?;
    let own_as = spec()?["asNumber"].to_string();
    server.apply(&MISFITS.replace("AS,", &format!("{own_as},")))?;
    let reason = |name: &str| -> Result<String> {
        let spec = spec()?;
        let mut peers = spec["peers"].as_array().into_iter().flatten();
        let peer = peers.find(|peer| peer["name"] == name);
        Ok(peer.map(|peer| peer["reason"].to_string()).unwrap_or_default())
    };
    wait_until(DEADLINE, "the node to say what does not fit", || {
        Ok(reason("misfit")?.contains("spec.localRole is for external neighbours"))
    })?;
    wait_until(DEADLINE, "the Secret to be refused", || {
        Ok(reason("signed")?.contains("Secret tors: the agent may not read it"))
    })?;
    server.apply(MAY_READ)?;
    // It is asked for again within 20 s; then nobody answers the connection.
    wait_until(DEADLINE * 3, "the password to be known", || {
        let reason = reason("signed")?;
        Ok(!reason.is_empty() && !reason.contains("password"))
    })
}

#[test]
#[ignore = "needs kube-apiserver and etcd: make conformance"]
fn objects_say_what_became_of_them() -> Result<()> {
    let cluster = Cluster::build("brd-k8s-d", &[])?;
    let server = &cluster.server;
    server.apply(
        "apiVersion: brindle.io/v1alpha1\nkind: GlobalNetworkPolicy\nmetadata: {name: good}\n\
         spec: {selector: all(), ingress: [{action: Allow}]}\n---\n\
         apiVersion: brindle.io/v1alpha1\nkind: GlobalNetworkPolicy\nmetadata: {name: bad}\n\
         spec: {selector: all(), ingress: [{action: Allow, sauce: {}}]}\n",
    )?;
    let accepted = |name: &str, status: &str| {
        let condition = format!("--for=condition=Accepted={status}");
        server.kubectl(&["wait", &condition, "--timeout=20s", "globalnetworkpolicy", name])
    };
    accepted("good", "True")?;
    accepted("bad", "False")?;
    let message = "jsonpath={.status.conditions[0].message}";
    let message = server.kubectl(&["get", "globalnetworkpolicy", "bad", "-o", message])?;
    ensure!(message.contains("spec.ingress[0].sauce: unknown field"), "not said: {message}");
    server.kubectl(&[
        "patch",
        "globalnetworkpolicy",
        "bad",
        "--type=json",
        "-p",
        r#"[{"op": "remove", "path": "/spec/ingress/0/sauce"}]"#,
    ])?;
    accepted("bad", "True")?;
    Ok(())
}

#[test]
#[ignore = "needs kube-apiserver and etcd: make conformance"]
fn an_agent_writes_what_is_of_its_own_node_only() -> Result<()> {
    let netns = Netns::create("brd-k8s-e")?;
    let server = ApiServer::start(&netns, std::path::Path::new("/run/brd-k8s-e"), &[])?;
    server.install_definitions()?;
    server.apply("apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n")?;
    let token = server.agent_token("n1")?;
    let block = |name: &str, node: &str| {
        format!(
            "apiVersion: brindle.io/v1alpha1\nkind: IPAMBlock\nmetadata: {{name: {name}}}\n\
             spec: {{cidr: 10.65.0.0/26, node: {node}}}\n"
        )
    };
    // A policy takes effect a moment after it was made.
    wait_until(DEADLINE, "a block of another node to be refused", || {
        Ok(match server.create_as(&token, &block("theirs", "n2")) {
            Err(error) => error.to_string().contains("the enforcement of its own node n1 only"),
            Ok(()) => server.kubectl(&["delete", "ipamblock", "theirs"]).map(|_| false)?,
        })
    })?;
    server.create_as(&token, &block("ours", "n1"))?;
    let enforcement = |node: &str| {
        format!(
            "apiVersion: brindle.io/v1alpha1\nkind: NodeEnforcement\nmetadata: {{name: {node}}}\n\
             spec: {{node: {node}}}\n"
        )
    };
    let refused = server.create_as(&token, &enforcement("n2"));
    let refused = refused.err().context("an agent spoke for another node")?.to_string();
    ensure!(refused.contains("the enforcement of its own node n1 only"), "{refused}");
    server.create_as(&token, &enforcement("n1"))?;
    let sessions = |node: &str| {
        format!(
            "apiVersion: brindle.io/v1alpha1\nkind: BGPNodeStatus\nmetadata: {{name: {node}}}\n\
             spec: {{node: {node}, sessions: 0, established: 0}}\n"
        )
    };
    let refused = server.create_as(&token, &sessions("n2"));
    let refused = refused.err().context("an agent told of another node's sessions")?.to_string();
    ensure!(refused.contains("of its own node n1 only"), "{refused}");
    server.create_as(&token, &sessions("n1"))?;
    let pool = "apiVersion: brindle.io/v1alpha1\nkind: IPPool\nmetadata: {name: p}\n\
                spec: {cidr: 10.0.0.0/16}\n";
    let refused = server.create_as(&token, pool).err().context("an agent made a pool")?;
    ensure!(refused.to_string().contains("forbidden"), "{refused}");
    Ok(())
}

/// While the API server is away everything stays; an agent that starts meanwhile waits and touches
/// nothing; afterwards what has changed takes effect.
#[test]
#[ignore = "needs kube-apiserver and etcd: make conformance"]
fn an_api_server_that_is_away_changes_nothing() -> Result<()> {
    let mut cluster = Cluster::build("brd-k8s-c", &[])?;
    let (web, db) = (cluster.pod(0, "web")?, cluster.pod(1, "db")?);
    let mut path = Path::new(&web, &db)?;
    cluster.server.apply(ONLY_5432)?;
    path.becomes(ONLY_DB, "a NetworkPolicy to be enforced")?;

    cluster.server.halt()?;
    ensure!(path.open()? == ONLY_DB, "the API server's end changed something");
    // Known to the agent already, or not: a pod that is not is refused and told to try again.
    let stranger = Pod {
        namespace: "shop".to_owned(),
        name: "stranger".to_owned(),
        node: 1,
        netns: Netns::create("brd-k8s-c-stranger")?,
        addresses: Vec::new(),
        added_in: Duration::ZERO,
    };
    let refused = stranger.cni(&cluster.fabric, "ADD");
    let refused = format!("{:#}", refused.err().context("a pod that nobody knows was added")?);
    ensure!(refused.contains("\"code\": 11"), "not told to try again: {refused}");

    let agent = cluster.fabric.nodes[1].agent.take().context("no agent")?;
    agent.end(Signal::SIGKILL)?;
    let waiting = cluster.spawn_agent(1)?;
    wait_until(DEADLINE, "the agent to say what it waits for", || {
        let status = waiting.ctl(&["status"]).err().map(|error| format!("{error:#}"));
        Ok(status.is_some_and(|said| said.contains("waits for the API server")))
    })?;
    let healthz = UnixStream::connect(waiting.socket()).and_then(|mut socket| {
        socket.write_all(b"GET /healthz HTTP/1.0\r\n\r\n")?;
        io::read_to_string(socket)
    })?;
    ensure!(healthz.contains(" 200 OK"), "a kubelet would start it again: {healthz}");
    ensure!(path.open()? == ONLY_DB, "an agent without an API server changed something");
    cluster.server.resume()?;
    cluster.fabric.nodes[1].agent = Some(waiting.ready(&cluster.fabric.nodes[1])?);
    ensure!(path.open()? == ONLY_DB, "the restarted agent changed something");
    cluster.server.kubectl(&["delete", "networkpolicy", "-n", "shop", "only-5432"])?;
    path.becomes(OPEN, "a policy deleted after the restart to go")?;
    Ok(())
}
