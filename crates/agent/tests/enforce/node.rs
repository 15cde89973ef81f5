//! A node in a network namespace: its agent, its folder, its pods, and what one may ask of them.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use brindle_cni::protocol::{
    AddRequest, ContainerInterface, Envelope, Outcome, PROTOCOL_VERSION, PodName, Request,
};
use brindle_dataplane_core::netns::Namespace;
use brindle_model::admin::NodeStatus;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection is given that must not come about.
const DENIED_AFTER: Duration = Duration::from_millis(400);

/// The node.
pub struct Node {
    netns: Namespace,
    dir: TempDir,
    agent: Option<Child>,
    environment: Vec<(&'static str, &'static str)>,
}

/// A pod of the node; it accepts connections on every port that a test asks for.
pub struct Pod {
    netns: Namespace,
    /// Its name in namespace `shop`.
    name: &'static str,
    /// IPv4, then IPv6.
    pub addresses: Vec<IpAddr>,
}

impl Node {
    /// A node with an uplink, its Node object and a pool of each family; no agent yet.
    pub fn new() -> Self {
        let netns = Namespace::create().expect("a network namespace; tests need root");
        let node =
            Self { netns, dir: TempDir::new().unwrap(), agent: None, environment: Vec::new() };
        for command in [
            "ip link set lo up",
            "ip link add eth0 mtu 1450 type veth peer name fabric",
            "ip link set eth0 up",
            "ip link set fabric up",
            "ip addr add 192.0.2.1/24 dev eth0",
            "ip addr add fd00:2::1/64 dev eth0 nodad",
        ] {
            node.run(command);
        }
        fs::create_dir(node.path("objects")).unwrap();
        node.write(
            "cluster.yaml",
            "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n\
             status: {addresses: [{type: InternalIP, address: 192.0.2.1}, \
             {type: InternalIP, address: \"fd00:2::1\"}]}\n---\n\
             apiVersion: brindle.io/v1alpha1\nkind: IPPool\nmetadata: {name: v4}\n\
             spec: {cidr: 10.66.0.0/24}\n---\n\
             apiVersion: brindle.io/v1alpha1\nkind: IPPool\nmetadata: {name: v6}\n\
             spec: {cidr: \"fd66::/116\"}\n---\n\
             apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n",
        );
        node
    }

    /// Its network namespace.
    pub fn netns(&self) -> &Namespace {
        &self.netns
    }

    /// A path in the node's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a command in the node's namespace.
    pub fn run(&self, command: &str) -> String {
        let words: Vec<_> = command.split_whitespace().collect();
        let output = self
            .netns
            .run(|| Command::new(words[0]).args(&words[1..]).output())
            .unwrap()
            .expect("the command starts");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The agent's binary with these arguments, in the node's namespace.
    pub fn binary(&self, arguments: &[&str]) -> std::io::Result<Child> {
        let log = fs::File::options().create(true).append(true).open(self.path("agent.log"))?;
        let command = || {
            Command::new(env!("CARGO_BIN_EXE_brindle-agent"))
                .args(arguments)
                .envs(self.environment.iter().copied())
                .stdout(Stdio::piped())
                .stderr(log)
                .spawn()
        };
        self.netns.run(command)?
    }

    /// Sets a variable for programs that are started from now on.
    pub fn environment(&mut self, name: &'static str, value: &'static str) {
        self.environment.push((name, value));
    }

    /// Arguments of `run`.
    pub fn arguments(&self) -> Vec<String> {
        let path = |name| self.path(name).display().to_string();
        let source = format!("dir:{}", path("objects"));
        ["--node", "n1", "--source", &source, "--status-dir", &path("status")]
            .into_iter()
            .chain(["--state-dir", &path("state"), "--run-dir", &path("run")])
            .map(str::to_owned)
            .collect()
    }

    /// Starts the agent and waits until it is ready.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The same with further options.
    pub fn start_with(&mut self, options: &[&str]) {
        let arguments = self.arguments();
        let arguments: Vec<&str> =
            arguments.iter().map(String::as_str).chain(options.iter().copied()).collect();
        self.agent = Some(self.binary(&arguments).expect("the agent starts"));
        self.wait("the agent to be ready", |node| {
            let ended = node.agent.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the agent ended: {ended:?}\n{}", node.log());
            node.request("GET", "/readyz").is_some_and(|(code, _)| code == 200)
        });
    }

    /// Sends the agent a signal and waits for its end.
    pub fn end(&mut self, signal: Signal) {
        let mut agent = self.agent.take().expect("an agent runs");
        kill(Pid::from_raw(agent.id().cast_signed()), signal).unwrap();
        self.wait("the agent to end", |_| agent.try_wait().unwrap().is_some());
        let status = agent.wait().unwrap();
        assert!(signal == Signal::SIGKILL || status.success(), "{status}\n{}", self.log());
    }

    /// What the agents said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    /// Writes a file of the folder.
    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.path("objects").join(file), text).unwrap();
    }

    /// Waits until what was written is enforced.
    pub fn sync(&self) {
        let answer = self.request("POST", "/sync?timeout=20").expect("the agent answers");
        assert_eq!(answer.0, 200, "{}\n{}", answer.1, self.log());
    }

    /// Asks the admin socket; `None` while nobody listens.
    pub fn request(&self, method: &str, path: &str) -> Option<(u16, String)> {
        self.ask(method, path, "")
    }

    /// The same with a body.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let mut stream = UnixStream::connect(self.path("run/agent.sock")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + body).as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let code = answer.split(' ').nth(1)?.parse().ok()?;
        Some((code, answer.split_once("\r\n\r\n")?.1.to_owned()))
    }

    /// Lines of an answer without end, as they come; what frames its chunks is among them.
    pub fn lines(&self, path: &str) -> impl Iterator<Item = String> + use<> {
        let mut stream = UnixStream::connect(self.path("run/agent.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: agent\r\n\r\n").unwrap();
        BufReader::new(stream).lines().map(|line| line.expect("in time"))
    }

    /// The agent at a glance.
    pub fn status(&self) -> NodeStatus {
        self.get("/status")
    }

    /// A document of the agent's.
    pub fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        let (code, body) = self.request("GET", path).expect("the agent answers");
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    /// Makes a pod with the label `app` of its name, as kubelet and runtime do.
    pub fn pod(&self, name: &'static str) -> Pod {
        let file = format!("pod-{name}.yaml");
        let object = |addresses: &[IpAddr]| {
            let ips: Vec<_> = addresses.iter().map(|a| format!("{{ip: \"{a}\"}}")).collect();
            format!(
                "apiVersion: v1\nkind: Pod\n\
                 metadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}\n\
                 spec: {{nodeName: n1, containers: [{{name: c, image: none}}]}}\n\
                 status: {{phase: Running, podIPs: [{}]}}\n",
                ips.join(", ")
            )
        };
        self.write(&file, &object(&[]));
        let netns = Namespace::create().unwrap();
        let addresses = self.add(name, &netns);
        self.write(&file, &object(&addresses));
        self.sync();
        Pod { netns, name, addresses }
    }

    /// CNI ADD.
    fn add(&self, name: &str, netns: &Namespace) -> Vec<IpAddr> {
        let target = ContainerInterface {
            container_id: format!("container-{name}"),
            interface: "eth0".to_owned(),
        };
        let pod = PodName { namespace: "shop".to_owned(), name: name.to_owned(), uid: None };
        let request = AddRequest { network: "brindle".to_owned(), target, pod, mtu: None };
        let envelope = Envelope {
            version: PROTOCOL_VERSION,
            patience_ms: 20_000,
            request: Request::Add(request),
        };
        let stream = UnixStream::connect(self.path("run/cni.sock")).unwrap();
        brindle_cni::write_request(&stream, &envelope, Some(netns.as_fd())).unwrap();
        let reply = brindle_cni::read_reply(&stream, Instant::now() + PATIENCE).unwrap();
        match reply.outcome {
            Outcome::Added(added) => {
                assert_eq!(added.mtu, 1450, "pods take the uplink's MTU");
                added.addresses
            }
            other => panic!("ADD of {name}: {other:?}\n{}", self.log()),
        }
    }

    /// What the kernel holds, but counters: rules, links, routes, permanent neighbours.
    pub fn kernel(&self) -> String {
        [
            "nft -s list ruleset",
            "ip -o link",
            "ip route",
            "ip -6 route",
            "ip neigh show nud permanent",
        ]
        .map(|command| self.run(command))
        .concat()
    }

    /// Polls until `done`, and fails with the agent's log if that takes too long.
    pub fn wait(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "waited for {what}\n{}", self.log());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            // The test has failed; nothing is left to be lost.
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

impl Pod {
    /// Its network namespace.
    pub fn netns(&self) -> &Namespace {
        &self.netns
    }

    /// Whether a TCP connection to the node's own address of each family comes about.
    pub fn reaches_node(&self, node: &Node, expected: bool) {
        for address in ["192.0.2.1", "fd00:2::1"] {
            let target = SocketAddr::new(address.parse().unwrap(), 8080);
            let listener = node.netns.run(|| TcpListener::bind(target)).unwrap().unwrap();
            let timeout = if expected { PATIENCE } else { DENIED_AFTER };
            let reached = self.netns.run(|| TcpStream::connect_timeout(&target, timeout)).unwrap();
            assert_eq!(reached.is_ok(), expected, "{} to the node at {target}", self.name);
            drop(listener);
        }
    }

    /// Whether a TCP connection to each address of `to` comes about: the same answer for both
    /// families, or the test fails.
    pub fn reaches(&self, to: &Self, port: u16, expected: bool) {
        for addr in &to.addresses {
            let target = SocketAddr::new(*addr, port);
            let listener = to.netns.run(|| TcpListener::bind(target)).unwrap().unwrap();
            let timeout = if expected { PATIENCE } else { DENIED_AFTER };
            let reached = self.netns.run(|| TcpStream::connect_timeout(&target, timeout)).unwrap();
            assert_eq!(reached.is_ok(), expected, "{} to {} at {target}", self.name, to.name);
            drop(listener);
        }
    }
}
