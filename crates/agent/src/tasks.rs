//! What runs, and who talks to whom.
//!
//! ```text
//!  northbound                                    southbound, one owner a kernel table
//!  ┌────────┐                                        ┌────────────┐
//!  │ source ├──updates──┐                     batches│ nftables   │──> table inet brindle
//!  └────────┘           │   ┌─────────┐    ┌────────>│ (driver)   │
//!  ┌────────┐           ├──>│ compile ├────┤         └─────┬──────┘
//!  │ cni-…  ├─endpoints─┘   └────┬────┘    │         ┌─────┴──────┐
//!  └───┬────┘ blocks             │         ├────────>│ routes     │──> routes, proto 98
//!      │                         │         │         │ (driver)   │<─────learned─────┐
//!      │  <──────Applied─────────┼─────────┼─────────┴─────┬──────┘                  │
//!      │                         │         │         ┌─────┴──────┐  commands  ┌─────┴──────┐
//!      v                         │         └────────>│ bgp-bridge ├───────────>│ bgp        │──> TCP
//!  ┌────────┐                    │ inspect           └────────────┘   events   │ (runtime)  │
//!  │ links  │         ┌──────────┴──┬───────────────┐                          └────────────┘
//!  └────────┘         │ admin       │ connections   ├──> marks of tracked connections
//!                     └─────────────┴───────────────┘
//!                       main thread: HTTP, signals, progress -> status folder
//! ```
//! Every box is a thread, every arrow a bounded channel. The speaker has a runtime of its own, so
//! that no compile delays a KEEPALIVE.
//!
//! **Start**: lock, settings, tables read back, attachments restored, folder read; only when all of
//! that is compiled is the first object written, and only then is the node told to forward, the restart
//! noted and the CNI configuration written. **End**: CNI server, source, connections, then the compile
//! thread and behind it drivers and speaker, each after what is queued; the kernel keeps everything.

use std::collections::BTreeMap;
use std::fs;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use brindle_bgp_proto::family::FamilySet;
use brindle_bgp_speaker::Config as SpeakerConfig;
use brindle_compiler::Compiler;
use brindle_dataplane_core::netlink::LinkMonitor;
use brindle_dataplane_core::{
    Applied, Backend, Driver, DriverConfig, DriverSender, DriverState, RouteTable, sysctl,
};
use brindle_dataplane_iptables as iptables;
use brindle_dataplane_iptables::Jump;
use brindle_ipam::{Ipam, OpenError};
use brindle_model::Name;
use brindle_model::cluster::Update;
use brindle_model::settings::{
    Dataplane, Effective, ExistingConnections, IptablesJump, Objects, Settings,
};
use brindle_sources::directory::{DirectorySource, RunError};
use brindle_sources::kubernetes::{Connection, KubernetesSource};
use brindle_sources::object::{Kind, ObjectKey};
use brindle_sources::status::{StatusWriter, Topic};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::admin;
use crate::backend::AnyBackend;
use crate::backend::choice::NoBackend;
use crate::bgp::{self, Bgp};
use crate::bgp_status;
use crate::blocks::BlockStore;
use crate::capacity;
use crate::cni_server::ports::Pipeline as _;
use crate::cni_server::{CniConfig, CniServer, Listener};
use crate::config::{RunOptions, Source};
use crate::connections::{Changes, Connections};
use crate::enforcement::Reporter;
use crate::heap;
use crate::host_links::HostLinks;
use crate::links::Links;
use crate::lock::NodeLock;
use crate::log::{self, Log};
use crate::northbound::{self, Barriers, Northbound, Seen};
use crate::packet_log::PacketLog;
use crate::pipeline::{Origin, Outputs, Pipeline};
use crate::restart::RestartFile;
use crate::settings::{self, AgentSettings, Live};

/// How long the end may take before what is queued is given up.
const DRAIN: Duration = Duration::from_secs(10);
/// Pause before the API server is asked again for this node's address blocks.
const BLOCKS_AGAIN: Duration = Duration::from_secs(1);
/// Inputs that may wait for the route table: a full table of the fabric comes one by one.
const ROUTE_QUEUE: usize = 1024;
/// What an agent says that has not read its settings.
const WAITS: &str = "the agent waits for the API server: some of its settings count from the start";
/// Stack of a thread that waits for an owner on behalf of an HTTP request, bytes.
const BLOCKING_STACK: usize = 256 * 1024;

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// It cannot start, or a part of it has ended; the kernel keeps what it has.
pub fn run(options: &RunOptions, log: Log) -> Result<()> {
    let span = tracing::info_span!("agent", node = %options.node);
    let _entered = span.enter();
    options.check()?;
    let started = Instant::now();
    sysctl::use_directory(&options.sysctl_dir);
    let _lock = NodeLock::take(&options.run_dir)?;
    fs::create_dir_all(&options.state_dir)
        .with_context(|| format!("create {}", options.state_dir.display()))?;

    let connection = match &options.source {
        Source::Directory(_) => None,
        Source::Kubernetes(kubeconfig) => Some(Arc::new(Connection::open(kubeconfig.as_deref())?)),
    };
    let said = [options.settings(log::from_environment()), settings::emergency()?];
    let effective = settings_at_start(options, connection.as_deref(), &said)?;
    log.set(effective.settings.log.as_deref().unwrap_or_default())?;

    let restart = RestartFile::new(&options.state_dir);
    let south = South::start(options, &effective.settings, &restart)?;
    let counted = effective.settings.clone();
    let packet_log = Arc::new(PacketLog::start(counted.packets_kept.unwrap_or_default() as usize));
    let live = Live {
        log: Arc::new(log),
        pipeline: south.pipeline.clone(),
        connections: south.changes.clone(),
        packets: packet_log.clone(),
    };
    let settings = Arc::new(AgentSettings::new(options.node.clone(), said, effective, live));
    let (north, ended) = North::start(options, connection, &south, &settings)?;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_stack_size(BLOCKING_STACK)
        .build()
        .context("start the admin runtime")?;
    let sources = Arc::new(admin::Sources {
        node: options.node.clone(),
        source: options.source.to_string(),
        started,
        pipeline: south.pipeline.clone(),
        barriers: north.barriers.clone(),
        dataplane: south.dataplane.applied().clone(),
        routes: south.route_driver.applied().clone(),
        route_table: south.routes.clone(),
        backend: south.backend.clone(),
        drops_per_second: counted.drops_per_second.unwrap_or_default(),
        settings,
        packet_log,
        bgp: south.bgp.commands.clone(),
        plans: south.bgp.plans.clone(),
        connections: south.changes.clone(),
        ipam: north.server.ipam().clone(),
    });
    let tables = [south.dataplane.applied().clone(), south.route_driver.applied().clone()];
    let result = runtime.block_on(serve(options, sources, tables, &north, restart, ended));
    // Requests hold senders; without them the threads behind cannot end.
    runtime.shutdown_timeout(Duration::from_secs(1));

    info!("stopping; the kernel keeps rules, links and routes");
    let deadline = Instant::now() + DRAIN;
    north.stop(deadline);
    if !south.stop(deadline) {
        warn!("gave up what was queued");
    }
    result
}

/// The settings that count at the start.
fn settings_at_start(
    options: &RunOptions,
    connection: Option<&Connection>,
    [start, emergency]: &[Settings; 2],
) -> Result<Effective> {
    let objects = match (&options.source, connection) {
        (Source::Directory(folder), _) => settings::of_folder(&options.node, folder)?,
        (_, Some(connection)) => {
            let read = || settings::of_server(&options.node, connection);
            admin::meanwhile(&options.admin_socket(), options.admin_listen, WAITS, read)?
        }
        (_, None) => Objects::default(),
    };
    Ok(objects.effective(&options.node, start, emergency))
}

/// Everything behind the compiler, and the compiler.
struct South {
    pipeline: Pipeline,
    compile: JoinHandle<()>,
    dataplane: Driver,
    backend: DriverSender<AnyBackend>,
    route_driver: Driver,
    routes: DriverSender<RouteTable>,
    monitor: LinkMonitor,
    bgp: Bgp,
    changes: Changes,
    connections: Connections,
}

impl South {
    fn start(options: &RunOptions, settings: &Settings, restart: &RestartFile) -> Result<Self> {
        let config = DriverConfig::default();
        let resync_interval = settings.resync_interval.unwrap_or(config.resync_interval);
        let config = DriverConfig { resync_interval, ..config };
        let backend = open_backend(settings)?;
        let mut compiler = Compiler::within(options.node.clone(), backend.limits());
        compiler.apply(Update::NodeOptions(Some(Arc::new(settings.node_options()))));
        let (dataplane, backend) =
            Driver::spawn(backend, config).context("start the dataplane's driver")?;
        let route_config = DriverConfig { queue: ROUTE_QUEUE, ..config };
        let table = RouteTable::open().context("open the route table")?;
        let (route_driver, routes) =
            Driver::spawn(table, route_config).context("start the route table's driver")?;

        let preserved = restart.forwarding_preserved();
        let speaker = SpeakerConfig {
            restarting: preserved,
            forwarding_preserved: if preserved { FamilySet::ALL } else { FamilySet::NONE },
            jitter_seed: seed(&options.node),
        };
        let (batches, forwarded) = mpsc::channel(bgp::QUEUE);
        let bgp =
            bgp::spawn(speaker, forwarded, routes.clone()).context("start the BGP speaker")?;

        let existing = settings.existing_connections.unwrap_or(ExistingConnections::Reevaluate);
        let changes = Changes::new(existing);
        let outputs = Outputs {
            dataplane: backend.clone(),
            routes: routes.clone(),
            bgp: batches,
            connections: changes.clone(),
        };
        let tables = [dataplane.applied().clone(), route_driver.applied().clone()];
        let (pipeline, compile) =
            Pipeline::spawn(compiler, outputs, tables).context("start the compile thread")?;
        let monitor = watch_links(&routes, &pipeline)?;
        let connections = Connections::spawn(
            changes.clone(),
            pipeline.clone(),
            backend.clone(),
            dataplane.applied().clone(),
            resync_interval,
        );
        let connections = connections.context("judge existing connections again")?;
        Ok(Self {
            pipeline,
            compile,
            dataplane,
            backend,
            route_driver,
            routes,
            monitor,
            bgp,
            changes,
            connections,
        })
    }

    /// Lets everything that is queued through. Returns whether that was done by the deadline.
    fn stop(self, deadline: Instant) -> bool {
        let connections = self.connections.stop();
        // Each drop ends what it feeds, once the queue is empty.
        let Bgp { commands, plans, thread: bridge, .. } = self.bgp;
        drop((self.pipeline, self.backend, self.routes, self.monitor, commands, plans));
        let (done, wait) = sync_channel(1);
        let compile = self.compile;
        let (dataplane, route_driver) = (self.dataplane, self.route_driver);
        let joiner = std::thread::spawn(move || {
            let ended = [
                ("connections", connections.join().is_ok()),
                ("compile", compile.join().is_ok()),
                ("bgp-bridge", bridge.join().is_ok()),
                ("dataplane", dataplane.join()),
                ("routes", route_driver.join()),
            ];
            for (thread, _) in ended.iter().filter(|(_, well)| !well) {
                error!(thread, "a thread panicked");
            }
            // Nobody may wait any more.
            let _ = done.send(());
        });
        let left = deadline.saturating_duration_since(Instant::now());
        let ended = wait.recv_timeout(left).is_ok();
        if ended && joiner.join().is_err() {
            error!("the thread that waits for the others panicked");
        }
        ended
    }
}

fn open_backend(settings: &Settings) -> Result<AnyBackend, NoBackend> {
    let built_in = iptables::Options::default();
    let options = iptables::Options {
        jump: match settings.iptables_jump {
            Some(IptablesJump::Append) => Jump::Append,
            Some(IptablesJump::Insert) | None => Jump::Insert,
        },
        drops_per_second: settings.drops_per_second.unwrap_or(built_in.drops_per_second),
    };
    AnyBackend::open(settings.dataplane.unwrap_or(Dataplane::Auto), options)
}

/// Watches the node's own links: routes may have to be put back, and host endpoints are found by
/// them. What there is now is told before this returns.
fn watch_links(routes: &DriverSender<RouteTable>, pipeline: &Pipeline) -> Result<LinkMonitor> {
    let links = Arc::new(Mutex::new(HostLinks::default()));
    let tell = {
        let (links, pipeline) = (links.clone(), pipeline.clone());
        move || -> Result<()> {
            let updates = links.lock().unwrap_or_else(PoisonError::into_inner).read()?;
            if !updates.is_empty() {
                pipeline.submit(updates)?;
            }
            Ok(())
        }
    };
    let routes = routes.clone();
    let told = tell.clone();
    let monitor = LinkMonitor::spawn(move || {
        // It fails only when the route table's thread has ended.
        let _ = routes.resync();
        if let Err(error) = told() {
            warn!(error = format!("{error:#}"), "cannot list the node's interfaces");
        }
    });
    let monitor = monitor.context("watch links")?;
    // After the watch has begun: what changes in between is told twice, not missed.
    tell().context("list the node's interfaces")?;
    Ok(monitor)
}

/// Where inputs come from.
struct North {
    source: Northbound,
    barriers: Barriers,
    server: Arc<CniServer<BlockStore, Links, Pipeline>>,
    listener: Listener,
    status: northbound::Status,
}

impl North {
    fn start(
        options: &RunOptions,
        connection: Option<Arc<Connection>>,
        South { pipeline, routes, bgp, .. }: &South,
        settings: &Arc<AgentSettings>,
    ) -> Result<(Self, oneshot::Receiver<Result<(), RunError>>)> {
        let mut status = northbound::Status::default();
        let (source, store) = match (&options.source, connection) {
            (Source::Directory(folder), _) => {
                if let Some(path) = &options.status_dir {
                    let writer = StatusWriter::open(path, folder, &options.node)?;
                    status.files = Some(Arc::new(writer));
                }
                let source = northbound::Source::Directory(DirectorySource::open(folder)?);
                (source, BlockStore::folder(options.ipam_dir())?)
            }
            (Source::Kubernetes(_), None) => bail!("there is no client of the API server"),
            (Source::Kubernetes(_), Some(connection)) => {
                status.reporter = Some(Reporter::start(&connection, &options.node));
                bgp.secrets.start(&connection);
                let (speaker, changed) = (bgp.commands.clone(), bgp.changed.clone());
                bgp_status::start(&connection, &options.node, speaker, changed);
                let source = KubernetesSource::start(&connection, options.node.clone());
                (northbound::Source::Kubernetes(source), BlockStore::api_server(connection))
            }
        };
        if let Some(status) = status.files.clone() {
            pipeline.watch_loads(move |loads| {
                status.warn(Topic::Capacity, capacity::warnings(loads));
            })?;
        }
        let ipam = open_ipam(options, &store)?;
        let config = CniConfig::new(
            options.node.clone(),
            options.state_dir.join("attachments.journal"),
            options.cni_socket(),
        );
        let links = Links::new(routes.clone());
        let (server, _) = CniServer::restore(config, Arc::new(ipam), links, pipeline.clone())?;
        pipeline.complete(Origin::Attachments)?;
        let noted = status.files.clone();
        pipeline.follow(Box::new(move |remarks| {
            for (name, text) in &remarks.hosts {
                warn!(host_endpoint = %name, "{text}");
            }
            for (name, text) in &remarks.peers {
                warn!(bgp_peer = %name, "{text}");
            }
            if let Some(status) = &noted {
                let warn = |topic, kind, remarks: BTreeMap<Name, String>| {
                    let of = |name| ObjectKey { kind, namespace: None, name };
                    let warnings = remarks.into_iter().map(|(name, text)| (of(name), vec![text]));
                    status.warn(topic, warnings.collect());
                };
                warn(Topic::Interfaces, Kind::HostEndpoint, remarks.hosts);
                warn(Topic::Sessions, Kind::BgpPeer, remarks.peers);
            }
        }))?;

        settings.follow(tell_awaiting(status.clone()));
        let server = Arc::new(server);
        let observer = {
            let (server, settings) = (server.clone(), settings.clone());
            Box::new(move |seen: Seen<'_>| match seen {
                Seen::Updates(updates) => {
                    server.observe(updates);
                    settings.observe(updates);
                }
                Seen::InSync => settings.in_sync(),
            })
        };
        let (ended, end) = oneshot::channel();
        let told = move |result| {
            // The agent may be on its way down already.
            let _ = ended.send(result);
        };
        let (source, barriers) =
            northbound::start(source, pipeline, status.clone(), observer, told)
                .context("start the source's thread")?;
        // A pod that comes before in-sync is told to try again.
        let listener = Listener::start(server.clone())?;
        Ok((Self { source, barriers, server, listener, status }, end))
    }

    /// CNI requests at work are finished, then the source ends.
    fn stop(self, deadline: Instant) {
        if !self.listener.stop(deadline) {
            warn!("gave up CNI requests at work");
        }
        self.source.stop();
    }
}

/// Writes what waits for a start of the agent into the status of the objects that ask for it, or
/// beside what the node enforces.
fn tell_awaiting(status: northbound::Status) -> settings::Follower {
    Box::new(move |awaiting| {
        if let Some(files) = &status.files {
            let key = |name| ObjectKey { kind: Kind::AgentConfiguration, namespace: None, name };
            let warnings = awaiting.objects.into_iter().map(|(name, texts)| (key(name), texts));
            files.warn(Topic::Settings, warnings.collect());
        }
        if let Some(reporter) = &status.reporter {
            reporter.awaiting_start(awaiting.settings);
        }
    })
}

/// Opens the ledger of addresses. An API server that does not answer is waited for: the kernel has
/// what it has meanwhile, and no pod comes.
fn open_ipam(options: &RunOptions, store: &BlockStore) -> Result<Ipam<BlockStore>> {
    loop {
        let ledger = options.state_dir.join("addresses.journal");
        match Ipam::open(options.node.clone(), store.clone(), ledger) {
            Err(OpenError::Store(cause)) if store.is_remote() => {
                let cause = anyhow::Error::new(cause);
                warn!("cannot read the node's address blocks, trying again: {cause:#}");
                std::thread::sleep(BLOCKS_AGAIN);
            }
            opened => return Ok(opened?),
        }
    }
}

/// Serves until a signal comes or a part ends.
async fn serve(
    options: &RunOptions,
    sources: Arc<admin::Sources>,
    tables: [Applied; 2],
    north: &North,
    restart: RestartFile,
    ended: oneshot::Receiver<Result<(), RunError>>,
) -> Result<()> {
    let socket = options.admin_socket();
    let connections = sources.connections.clone();
    let unix =
        admin::listen_unix(&socket).with_context(|| format!("listen on {}", socket.display()))?;
    let full = admin::full(sources.clone());
    let unix = async { axum::serve(unix, full).await.context("serve the admin socket") };
    let tcp = async {
        match options.admin_listen {
            None => std::future::pending().await,
            Some(address) => {
                let listener = admin::listen_tcp(address)
                    .await
                    .with_context(|| format!("listen on {address}"))?;
                let public = admin::public(sources.clone());
                axum::serve(listener, public).await.context("serve metrics")
            }
        }
    };
    let mut terminate = signal(SignalKind::terminate()).context("catch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("catch SIGINT")?;
    tokio::select! {
        result = unix => result,
        result = tcp => result,
        result = follow(options, tables, connections, north, restart) => result,
        end = ended => match end {
            Ok(Err(error)) => Err(error).context("the source has ended"),
            _ => bail!("the source has ended"),
        },
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

/// Follows what is enforced: the status folder hears of it, and the first time the node is told to
/// forward, the restart is noted, and the container runtime finds the plugin. After others have
/// opened what is closed, connections are judged again.
async fn follow(
    options: &RunOptions,
    tables: [Applied; 2],
    connections: Changes,
    north: &North,
    restart: RestartFile,
) -> Result<()> {
    let [mut dataplane, mut routes] = tables.each_ref().map(Applied::subscribe);
    let mut ready = false;
    let mut repairs = 0;
    loop {
        let changed = tokio::select! {
            changed = dataplane.changed() => changed,
            changed = routes.changed() => changed,
        };
        changed.context("a driver has ended")?;
        let progress = [*dataplane.borrow_and_update(), *routes.borrow_and_update()];
        ensure!(
            progress.iter().all(|table| table.state != DriverState::Stopped),
            "the thread of a kernel table has ended; see the log for its panic"
        );
        if progress[0].repairs > repairs {
            repairs = progress[0].repairs;
            connections.repaired();
        }
        if let Some(reporter) = &north.status.reporter {
            reporter.applied(&tables[0]);
        }
        let [in_dataplane, in_routes] = progress.map(|table| table.applied);
        let Some((in_dataplane, in_routes)) = in_dataplane.zip(in_routes) else { continue };
        if !ready {
            ready = true;
            sysctl::enable_forwarding()?;
            restart.write()?;
            options.cni.install(&options.cni_socket())?;
            heap::trim();
            info!("ready");
        }
        if let Some(files) = &north.status.files {
            files.enforced(in_dataplane.min(in_routes));
        }
    }
}

/// Differs from node to node and start to start, so that no two speakers keep step.
fn seed(node: &str) -> u64 {
    std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), node)
}
