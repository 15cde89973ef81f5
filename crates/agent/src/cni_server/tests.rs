//! The server over real links in namespaces of its own; what stands in is the compiler and the
//! dataplane, so that a test decides when policy is enforced.

use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, PoisonError};
use std::time::Instant;

use brindle_cni::protocol::{
    AddRequest, Added, CheckRequest, ContainerInterface, DelRequest, Envelope, GcRequest, Outcome,
    PROTOCOL_VERSION, PodName, Request,
};
use brindle_dataplane_core as core;
use brindle_dataplane_core::netns::Namespace;
use brindle_ipam::FileStore;
use brindle_ipam::journal::OpenError as JournalError;
use brindle_model::cluster::{IpPool, Pod};
use brindle_model::{Name, NamespacedName};

use super::ports::{AttachRequest, Attached, PodRoute, Ticket, WaitError};
use super::*;

mod crashes;
mod requests;
mod socket;

/// How long a test waits for what must come.
const SOON: Duration = Duration::from_secs(20);

/// Lets some operations through; the next one fails, with or without effect, and so do all later
/// ones: what a process does that is killed there.
#[derive(Debug)]
struct Life {
    left: AtomicUsize,
    after_effect: bool,
}

impl Life {
    fn unlimited() -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(usize::MAX), after_effect: false })
    }

    fn run<T, E>(
        &self,
        stopped: impl Fn() -> E,
        operation: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let left = self.left.load(Ordering::Relaxed);
        if left != usize::MAX {
            self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        }
        match left {
            0 => Err(stopped()),
            1 if self.after_effect => operation().and_then(|_| Err(stopped())),
            1 => Err(stopped()),
            _ => operation(),
        }
    }
}

/// Real links, with routes as the route table would make them.
struct Kernel {
    life: Arc<Life>,
}

#[derive(Debug, thiserror::Error)]
enum KernelError {
    #[error("the kernel refused")]
    Refused(#[from] core::PodNetworkError),
    #[error("the process was killed")]
    Killed,
}

fn attachment<'a>(request: &AttachRequest<'a>) -> core::Attachment<'a> {
    core::Attachment {
        netns: request.netns,
        interface: request.interface,
        host_interface: request.host_interface,
        addresses: request.addresses,
        mtu: request.mtu.unwrap_or(1500),
    }
}

impl PodNetwork for Kernel {
    type Error = KernelError;

    fn attach(&self, request: &AttachRequest<'_>) -> Result<Attached, KernelError> {
        let made = self
            .life
            .run(|| KernelError::Killed, || Ok(core::PodNetwork.attach(&attachment(request))?))?;
        let routes = made.routes.into_iter();
        Ok(Attached {
            host_mac: made.host_mac.to_string(),
            pod_mac: made.pod_mac.to_string(),
            mtu: request.mtu.unwrap_or(1500),
            routes: routes
                .map(|r| PodRoute { destination: r.destination, gateway: r.gateway })
                .collect(),
        })
    }

    fn enable(&self, host_interface: &str, addresses: &[IpAddr]) -> Result<(), KernelError> {
        self.life.run(
            || KernelError::Killed,
            || {
                core::PodNetwork.enable(host_interface, addresses)?;
                for addr in addresses {
                    run(&format!("ip route replace {addr} dev {host_interface}"));
                }
                Ok(())
            },
        )
    }

    fn mark(&self, host_interface: &str) -> Result<(), KernelError> {
        Ok(core::PodNetwork.mark(host_interface)?)
    }

    fn detach(&self, host_interface: &str) -> Result<(), KernelError> {
        self.life.run(|| KernelError::Killed, || Ok(core::PodNetwork.detach(host_interface)?))
    }

    fn check(&self, request: &AttachRequest<'_>) -> Result<(), KernelError> {
        Ok(core::PodNetwork.check(&attachment(request))?)
    }

    fn host_interfaces(&self) -> Result<BTreeSet<Name>, KernelError> {
        Ok(core::PodNetwork.host_interfaces()?)
    }
}

/// Keeps what is submitted, and confirms it while it is open.
#[derive(Clone)]
struct Gate(Arc<GateState>);

struct GateState {
    life: Arc<Life>,
    inner: Mutex<GateInner>,
    changed: Condvar,
}

#[derive(Debug)]
struct GateInner {
    in_sync: bool,
    open: bool,
    submitted: Vec<Update>,
}

impl Gate {
    fn new(life: Arc<Life>) -> Self {
        let inner = GateInner { in_sync: true, open: true, submitted: Vec::new() };
        Self(Arc::new(GateState { life, inner: Mutex::new(inner), changed: Condvar::new() }))
    }

    fn set(&self, change: impl FnOnce(&mut GateInner)) {
        change(&mut self.0.inner.lock().unwrap());
        self.0.changed.notify_all();
    }

    fn wait(&self, condition: impl Fn(&GateInner) -> bool, deadline: Instant) -> bool {
        let mut inner = self.0.inner.lock().unwrap();
        while !condition(&inner) {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            let woken = self.0.changed.wait_timeout(inner, left);
            (inner, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    fn submitted(&self) -> Vec<Update> {
        self.0.inner.lock().unwrap().submitted.clone()
    }

    /// The endpoints that what was submitted leads to.
    fn endpoints(&self) -> BTreeSet<Name> {
        let mut endpoints = BTreeSet::new();
        for update in self.submitted() {
            match update {
                Update::Endpoint(id, Some(_)) => endpoints.insert(id.container_id),
                Update::Endpoint(id, None) => endpoints.remove(&id.container_id),
                _ => continue,
            };
        }
        endpoints
    }
}

impl Pipeline for Gate {
    fn in_sync(&self) -> bool {
        self.0.inner.lock().unwrap().in_sync
    }

    fn submit(&self, updates: Vec<Update>) -> Result<Ticket, Stopped> {
        self.0.life.run(
            || Stopped,
            || {
                self.set(|inner| inner.submitted.extend(updates));
                Ok(Ticket(0))
            },
        )
    }

    fn wait_enforced(&self, _: Ticket, deadline: Instant) -> Result<(), WaitError> {
        self.0.life.run(
            || WaitError::Stopped,
            || {
                let enforced = self.wait(|inner| inner.open, deadline);
                if enforced { Ok(()) } else { Err(WaitError::TimedOut) }
            },
        )
    }
}

type TestServer = CniServer<FileStore, Kernel, Gate>;

/// One node: a directory for its state, and a namespace for its links.
struct Rig {
    directory: tempfile::TempDir,
    node: Namespace,
    pools: Vec<(&'static str, &'static str, u8)>,
}

impl Rig {
    fn new() -> Self {
        Self::with_pools(vec![("v4", "10.77.0.0/24", 26), ("v6", "fd77::/120", 122)])
    }

    fn with_pools(pools: Vec<(&'static str, &'static str, u8)>) -> Self {
        let (directory, node) = (tempfile::tempdir().unwrap(), Namespace::create().unwrap());
        let commands = [
            "ip link set lo up",
            "ip addr add 192.0.2.1/32 dev lo",
            "ip addr add 2001:db8::1/128 dev lo nodad",
        ];
        node.run(|| commands.iter().for_each(|c| drop(run(c)))).unwrap();
        Self { directory, node, pools }
    }

    fn config(&self) -> CniConfig {
        let at = |name| self.directory.path().join(name);
        CniConfig::new("n1", at("attachments.journal"), at("cni.sock"))
    }

    /// Starts the server on what is on disk, with pods `p0` to `p39` known.
    fn start_with(&self, life: &Arc<Life>, config: CniConfig) -> (Arc<TestServer>, Gate, Restored) {
        let gate = Gate::new(Arc::clone(life));
        let ledger = self.directory.path().join("ipam.journal");
        let ipam = unless_in_use(|| {
            let store = FileStore::open(self.directory.path().join("blocks")).unwrap();
            let in_use = |e: &brindle_ipam::OpenError| {
                matches!(e, brindle_ipam::OpenError::Journal(JournalError::InUse(_)))
            };
            Ipam::open("n1", store, &ledger).map_err(|e| (in_use(&e), e))
        });
        let ipam = Arc::new(ipam);
        let (server, restored) = unless_in_use(|| {
            let kernel = Kernel { life: Arc::clone(life) };
            let (config, ipam, gate) = (config.clone(), Arc::clone(&ipam), gate.clone());
            let restored = self.node.run(|| CniServer::restore(config, ipam, kernel, gate));
            let in_use = |e: &RestoreError<KernelError>| {
                matches!(e, RestoreError::Open(JournalError::InUse(_)))
            };
            restored.unwrap().map_err(|e| (in_use(&e), e))
        });
        for (name, cidr, block_size) in &self.pools {
            let cidr = cidr.parse().unwrap();
            let pool = IpPool { cidr, block_size: *block_size, disabled: false };
            server.observe(&[Update::IpPool((*name).into(), Some(Arc::new(pool)))]);
        }
        for n in 0..40 {
            server.observe(&[pod_update(&format!("p{n}"), Some("n1"))]);
        }
        (Arc::new(server), gate, restored)
    }

    fn start(&self) -> (Arc<TestServer>, Gate, Restored) {
        self.start_with(&Life::unlimited(), self.config())
    }

    /// Serves one request on a thread of the node's namespace.
    fn serve(&self, server: &TestServer, request: Request, netns: Option<&Namespace>) -> Outcome {
        self.serve_patiently(server, request, netns, 10_000)
    }

    fn serve_patiently(
        &self,
        server: &TestServer,
        request: Request,
        netns: Option<&Namespace>,
        patience_ms: u32,
    ) -> Outcome {
        let envelope = Envelope { version: PROTOCOL_VERSION, patience_ms, request };
        self.node.run(|| server.serve(&envelope, netns.map(descriptor))).unwrap()
    }

    fn add(&self, server: &TestServer, n: usize, pod: &Namespace) -> Result<Added, CniError> {
        match self.serve(server, add_request(n), Some(pod)) {
            Outcome::Added(added) => Ok(added),
            Outcome::Failed(error) => Err(error),
            Outcome::Done => panic!("ADD answered `done`"),
        }
    }

    fn del(&self, server: &TestServer, n: usize) -> Result<(), CniError> {
        done(self.serve(server, Request::Del(DelRequest { target: target(n) }), None))
    }

    fn links(&self) -> BTreeSet<Name> {
        self.node.run(|| core::PodNetwork.host_interfaces()).unwrap().unwrap()
    }

    /// Whether an interface of the node is administratively up.
    fn is_up(&self, interface: &str) -> bool {
        let shown = self.node.run(|| run(&format!("ip link show {interface}"))).unwrap();
        let flags = shown.split(['<', '>']).nth(1).unwrap();
        flags.split(',').any(|flag| flag == "UP")
    }

    /// Records, leases, links and endpoints name the same attachments.
    fn assert_consistent(&self, server: &TestServer, gate: &Gate) {
        let records = server.attachments();
        let handles: BTreeSet<_> = records.iter().map(AttachmentRecord::handle).collect();
        assert_eq!(server.ipam().leases().into_keys().collect::<BTreeSet<_>>(), handles);
        let links = records.iter().map(|r| r.attachment.host_interface.clone());
        assert_eq!(self.links(), links.collect());
        let endpoints = handles.iter().map(|h| h.container_id.clone());
        assert_eq!(gate.endpoints(), endpoints.collect());
    }

    fn assert_nothing_left(&self, server: &TestServer, gate: &Gate) {
        self.assert_consistent(server, gate);
        assert_eq!(server.attachments(), []);
    }
}

/// Opens something that a lock guards. Another test's child process may hold a copy of the lock
/// that this test just gave up: from its fork to its exec.
fn unless_in_use<T, E: std::fmt::Debug>(open: impl Fn() -> Result<T, (bool, E)>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        match open() {
            Ok(opened) => return opened,
            Err((true, _)) if Instant::now() < deadline => std::thread::yield_now(),
            Err((_, error)) => panic!("{error:?}"),
        }
    }
}

fn run(command: &str) -> String {
    let words: Vec<_> = command.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn descriptor(netns: &Namespace) -> OwnedFd {
    netns.as_fd().try_clone_to_owned().unwrap()
}

fn pod_update(name: &str, node: Option<&str>) -> Update {
    let pod = Pod { node: node.map(Into::into), ..Pod::default() };
    Update::Pod(NamespacedName::new("shop", name), Some(Arc::new(pod)))
}

fn target(n: usize) -> ContainerInterface {
    ContainerInterface { container_id: format!("c{n}"), interface: "eth0".into() }
}

fn add_request(n: usize) -> Request {
    Request::Add(AddRequest {
        network: "pods".into(),
        target: target(n),
        pod: PodName { namespace: "shop".into(), name: format!("p{n}"), uid: None },
        mtu: Some(1400),
    })
}

fn done(outcome: Outcome) -> Result<(), CniError> {
    match outcome {
        Outcome::Done => Ok(()),
        Outcome::Failed(error) => Err(error),
        Outcome::Added(added) => panic!("answered with {added:?}"),
    }
}
