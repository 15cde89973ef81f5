//! What an operator does while it leads.
//!
//! ```text
//!  watches ──bounded──> this task: state, nothing else ──> board ──> statuses
//!                              └── deletions, rare and one at a time
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use brindle_api::{BgpNodeStatus, IpamBlock, NodeEnforcement};
use brindle_sources::kubernetes::Connection;
use brindle_sources::kubernetes::watch::{Message, Told, Watch};
use kube::Client;
use kube::api::{Api, DeleteParams, Preconditions};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use crate::enforcement::{Enforcement, ObjectKey};
use crate::installation;
use crate::lease::Candidate;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::reclaim::{Block, Reclaim};
use crate::status::Board;
use crate::watched::Watched;

/// Messages that may wait. Each holds one object.
const QUEUE: usize = 256;
/// Least time between two looks at everything, so that a burst of reports costs one.
const LOOK: Duration = Duration::from_millis(100);
/// Longest time between two looks.
const IDLE: Duration = Duration::from_secs(60);
/// Pause after a deletion that failed.
const AGAIN: Duration = Duration::from_secs(10);
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Runs an operator until SIGTERM, SIGINT, or the loss of its Lease.
///
/// # Errors
/// There is no way to an API server.
pub fn run(options: &Options) -> Result<()> {
    let connection = Arc::new(Connection::open(options.kubeconfig.as_deref())?);
    let client = connection.client().clone();
    let mut candidate = Candidate::new(client, &options.namespace, &options.name);
    connection.clone().block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("catch SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("catch SIGINT")?;
        let work = async {
            candidate.win().await;
            tokio::select! {
                () = candidate.hold() => warn!("the lease is lost"),
                () = lead(&connection, options) => {}
            }
        };
        tokio::select! {
            () = work => {}
            _ = terminate.recv() => info!("stopping"),
            _ = interrupt.recv() => info!("stopping"),
        }
        // What was in the middle of a write has been dropped with its task.
        candidate.release().await;
        Ok(())
    })
}

/// Leads, for as long as it is polled.
async fn lead(connection: &Connection, options: &Options) {
    let client = connection.client();
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    for watched in Watched::all() {
        let watch = Watch::new(client.clone(), watched, watched.listing(), sender.clone());
        connection.spawn(watch.run());
    }
    let (grace, changed) = watch::channel(options.node_grace_period);
    let installation = installation::follow(connection, &grace, options.node_grace_period);
    let metrics = Metrics::default();
    let served = async {
        if let Some(address) = options.metrics_listen {
            metrics.clone().serve(address).await;
        }
    };
    let board = Board::default();
    let writer = board.clone().write(client.clone());
    let look = async {
        let mut state = State::new(changed.clone(), metrics.clone());
        let mut changed = changed;
        let mut next = Instant::now();
        loop {
            tokio::select! {
                Some(message) = receiver.recv() => {
                    state.take(message);
                    while let Ok(message) = receiver.try_recv() {
                        state.take(message);
                    }
                    // A look that is already due sooner stays.
                    next = next.min(Instant::now() + LOOK);
                }
                Ok(()) = changed.changed() => next = Instant::now(),
                () = sleep_until(next) => {
                    let again = state.look(client, &board).await;
                    let now = Instant::now();
                    next = again.clamp(now + LOOK, now + IDLE);
                }
            }
        }
    };
    tokio::join!(writer, installation, served, look);
}

/// Namespace and name.
type Identity = (Option<Box<str>>, Box<str>);

/// Everything that the leader knows.
struct State {
    nodes: BTreeSet<Box<str>>,
    enforcement: Enforcement,
    metrics: Metrics,
    reclaim: Reclaim,
    /// How long a node may be gone before its blocks are others'.
    grace: watch::Receiver<Duration>,
    /// What is being listed, with the objects of which the list has not told.
    listing: BTreeMap<Watched, BTreeSet<Identity>>,
    listed: BTreeSet<Watched>,
}

impl State {
    fn new(grace: watch::Receiver<Duration>, metrics: Metrics) -> Self {
        Self {
            nodes: BTreeSet::new(),
            enforcement: Enforcement::default(),
            metrics,
            reclaim: Reclaim::default(),
            grace,
            listing: BTreeMap::new(),
            listed: BTreeSet::new(),
        }
    }

    fn take(&mut self, message: Message<Watched>) {
        let Message::Told(watched, told) = message else { return };
        match told {
            Told::Listing => {
                let known = self.known(watched);
                self.listing.insert(watched, known);
            }
            Told::Object(object) => {
                if let Some(unnamed) = self.listing.get_mut(&watched)
                    && let Some((namespace, name)) = identity(&object)
                {
                    unnamed.remove(&(namespace, name));
                }
                self.put(watched, &object);
            }
            Told::Deleted(object) => {
                if let Some((namespace, name)) = identity(&object) {
                    self.remove(watched, namespace, name);
                }
            }
            Told::Listed(_) => {
                for (namespace, name) in self.listing.remove(&watched).unwrap_or_default() {
                    self.remove(watched, namespace, name);
                }
                self.listed.insert(watched);
            }
        }
    }

    fn known(&self, watched: Watched) -> BTreeSet<Identity> {
        let bare = |name: &str| (None, Box::from(name));
        match watched {
            Watched::Nodes => self.nodes.iter().map(|name| bare(name)).collect(),
            Watched::NodeEnforcements => self.enforcement.reporters().map(bare).collect(),
            Watched::IpamBlocks => self.reclaim.names().map(bare).collect(),
            Watched::Enforceable(kind) => {
                let keys = self.enforcement.keys(kind);
                keys.map(|key| (key.namespace.clone(), key.name.clone())).collect()
            }
        }
    }

    fn put(&mut self, watched: Watched, object: &Value) {
        let Some((_, name)) = identity(object) else { return };
        match watched {
            Watched::Nodes => {
                self.nodes.insert(name);
            }
            Watched::NodeEnforcements => self.enforcement.report(&name, object),
            Watched::IpamBlocks => self.reclaim.put(object),
            Watched::Enforceable(kind) => {
                let is_news = self.listed.contains(&watched);
                self.enforcement.put(kind, object, is_news, Instant::now());
            }
        }
    }

    fn remove(&mut self, watched: Watched, namespace: Option<Box<str>>, name: Box<str>) {
        match watched {
            Watched::Nodes => {
                self.nodes.remove(&name);
            }
            Watched::NodeEnforcements => self.enforcement.remove_report(&name),
            Watched::IpamBlocks => self.reclaim.remove(&name),
            Watched::Enforceable(kind) => {
                self.enforcement.remove(&ObjectKey { kind, namespace, name });
            }
        }
    }

    /// Acts on what is known; returns when to look again if nothing is told meanwhile. Before all is
    /// known, nothing is done.
    async fn look(&mut self, client: &Client, board: &Board) -> Instant {
        let now = Instant::now();
        if !Watched::all().all(|watched| self.listed.contains(&watched)) {
            return now + IDLE;
        }
        self.enforcement.set_nodes(&self.nodes);
        let (news, mut again) = self.enforcement.news(now);
        for (key, verdict) in &news {
            self.metrics.note(key.kind, verdict);
        }
        board.note(news);

        let reporters = self.enforcement.reporters();
        let grace = *self.grace.borrow();
        let due = self.reclaim.due(&self.nodes, reporters, grace, now);
        let mut failed = false;
        for block in &due.blocks {
            failed |= !delete_block(client, block).await;
        }
        for node in &due.nodes {
            failed |= !delete_report(client, node).await;
        }
        let retry = failed.then(|| Instant::now() + AGAIN);
        for time in [due.again, retry].into_iter().flatten() {
            again = Some(again.map_or(time, |again| again.min(time)));
        }
        again.unwrap_or(now + IDLE)
    }
}

/// Whether the block is gone, or has changed since it was read.
async fn delete_block(client: &Client, block: &Block) -> bool {
    let preconditions = Preconditions {
        uid: Some(block.uid.to_string()),
        resource_version: Some(block.version.to_string()),
    };
    let params = DeleteParams::default().preconditions(preconditions);
    let blocks: Api<IpamBlock> = Api::all(client.clone());
    let done = deleted("IPAMBlock", &block.name, blocks.delete(&block.name, &params)).await;
    if done {
        info!(block = &*block.name, node = &*block.node, "reclaimed from a node that is gone");
    }
    done
}

async fn delete_report(client: &Client, node: &str) -> bool {
    let reports: Api<NodeEnforcement> = Api::all(client.clone());
    let statuses: Api<BgpNodeStatus> = Api::all(client.clone());
    let params = DeleteParams::default();
    deleted("BGPNodeStatus", node, statuses.delete(node, &params)).await
        && deleted("NodeEnforcement", node, reports.delete(node, &params)).await
}

async fn deleted<T>(
    kind: &str,
    name: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> bool {
    match timeout(ANSWER, request).await {
        Ok(Ok(_)) => true,
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => true,
        Ok(Err(error)) => {
            warn!(kind, name, %error, "cannot delete; trying again");
            false
        }
        Err(_) => false,
    }
}

fn identity(object: &Value) -> Option<Identity> {
    let metadata = &object["metadata"];
    Some((metadata["namespace"].as_str().map(Into::into), metadata["name"].as_str()?.into()))
}
