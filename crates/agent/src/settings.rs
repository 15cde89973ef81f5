//! The agent's settings: what it was started with, overlaid by AgentConfigurations, kept up while it
//! runs.
//!
//! ```text
//!  command line ─┐
//!  objects ──────┼─> Effective ──┬─> live: log, connections, compiler, packet log
//!  emergency ────┘               └─> the rest: at the start; later, told as awaiting one
//! ```
//! Objects are read once before anything is started, because some settings count only then. What the
//! source tells before it is in sync is collected, and judged as one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use brindle_model::Name;
use brindle_model::admin::SettingReport;
use brindle_model::cluster::Update;
use brindle_model::settings::{EMERGENCY_VARIABLE, Effective, Objects, Origin, Settings};
use brindle_sources::directory;
use brindle_sources::kubernetes::{self, Connection};
use brindle_sources::object::Kind;
use tracing::{info, warn};

use crate::cni_server::ports::Pipeline as _;
use crate::connections::Changes;
use crate::log::Log;
use crate::packet_log::PacketLog;
use crate::pipeline::Pipeline;

/// Pause before the API server is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// The kinds that settings come from.
const KINDS: [Kind; 2] = [Kind::Node, Kind::AgentConfiguration];

/// What live settings act on.
pub struct Live {
    /// The log.
    pub log: Arc<Log>,
    /// The compiler.
    pub pipeline: Pipeline,
    /// The judge of connections that were admitted before.
    pub connections: Changes,
    /// Packets that the kernel told of.
    pub packets: Arc<PacketLog>,
}

/// Told what waits for a start: for each AgentConfiguration that asks for it, in words.
pub type Follower = Box<dyn Fn(Awaiting) + Send>;

/// What waits for a start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Awaiting {
    /// Names of the settings.
    pub settings: Vec<String>,
    /// By AgentConfiguration, in words.
    pub objects: BTreeMap<Name, Vec<String>>,
}

/// The settings of one node's agent.
pub struct AgentSettings {
    node: Name,
    start: Settings,
    emergency: Settings,
    /// Those that counted when the agent started.
    running: Settings,
    live: Live,
    state: Mutex<State>,
}

struct State {
    objects: Objects,
    in_sync: bool,
    effective: Effective,
    /// Of live settings that could not be taken, why.
    refused: BTreeMap<&'static str, String>,
    awaiting: Awaiting,
    follower: Follower,
}

/// Reads the settings of a folder.
///
/// # Errors
/// The folder cannot be read.
pub fn of_folder(node: &Name, folder: &Path) -> Result<Objects> {
    let read = directory::read_once(folder);
    let read = read.with_context(|| format!("read the folder {}", folder.display()))?;
    Ok(Objects::of(node, &read.changes.updates))
}

/// Reads the settings of an API server. One that does not answer is waited for: the kernel has what
/// it has meanwhile.
pub fn of_server(node: &Name, connection: &Connection) -> Objects {
    loop {
        match kubernetes::read_kinds(connection, &KINDS) {
            Ok(read) => return Objects::of(node, &read.changes.updates),
            Err(error) => {
                let error = anyhow::Error::new(error);
                warn!("cannot read the agent's settings, trying again: {error:#}");
                sleep(AGAIN);
            }
        }
    }
}

/// What the variable for emergencies says.
///
/// # Errors
/// It says something that there is not.
pub fn emergency() -> Result<Settings> {
    let text = std::env::var(EMERGENCY_VARIABLE).unwrap_or_default();
    brindle_sources::settings::read(&text).context(EMERGENCY_VARIABLE)
}

impl AgentSettings {
    /// Takes over what the parts in `live` were started with.
    pub fn new(
        node: Name,
        [start, emergency]: [Settings; 2],
        effective: Effective,
        live: Live,
    ) -> Self {
        let state = State {
            objects: Objects::default(),
            in_sync: false,
            refused: BTreeMap::new(),
            awaiting: Awaiting::default(),
            follower: Box::new(|_| {}),
            effective: effective.clone(),
        };
        let running = effective.settings;
        Self { node, start, emergency, running, live, state: Mutex::new(state) }
    }

    /// Tells `follower` what waits for a start, whenever that changes.
    pub fn follow(&self, follower: Follower) {
        self.lock().follower = follower;
    }

    /// Takes over updates of a source that is followed.
    pub fn observe(&self, updates: &[Update]) {
        let mut state = self.lock();
        if state.objects.take(&self.node, updates) && state.in_sync {
            self.settle(&mut state);
        }
    }

    /// The source has told everything that there is.
    pub fn in_sync(&self) {
        let mut state = self.lock();
        state.in_sync = true;
        self.settle(&mut state);
    }

    fn settle(&self, state: &mut State) {
        let new = state.objects.effective(&self.node, &self.start, &self.emergency);
        let old = std::mem::replace(&mut state.effective, new);
        self.apply(&old, state);
        let awaiting = self.awaiting(&state.effective);
        if awaiting != state.awaiting {
            for text in awaiting.objects.values().flatten() {
                warn!("AgentConfiguration: {text}");
            }
            state.awaiting.clone_from(&awaiting);
            (state.follower)(awaiting);
        }
    }

    /// Acts on what is live and has changed.
    fn apply(&self, old: &Effective, state: &mut State) {
        let new = &state.effective;
        let pairs = new.settings.rows().into_iter().zip(old.settings.rows());
        for (row, before) in pairs.filter(|(row, before)| row.value != before.value) {
            let (setting, value) = (row.name, row.value.unwrap_or_default());
            let (before, origin) = (before.value.unwrap_or_default(), new.origin(row.name));
            info!(setting, value, before, %origin, "a setting has changed");
        }
        let (now, then) = (&new.settings, &old.settings);
        if let Some(directives) = now.log.as_ref().filter(|_| now.log != then.log) {
            state.refused.remove("logLevel");
            if let Err(error) = self.live.log.set(directives) {
                state.refused.insert("logLevel", format!("{error:#}"));
            }
        }
        if let Some(existing) =
            now.existing_connections.filter(|e| Some(*e) != then.existing_connections)
        {
            state.refused.remove("existingConnections");
            if let Err(error) = self.live.connections.set(existing) {
                let error = format!("{:#}", anyhow::Error::new(error));
                warn!(error, "existing connections cannot be judged again");
                state.refused.insert("existingConnections", error);
            }
        }
        if now.node_options() != then.node_options() {
            let options = Arc::new(now.node_options());
            // It fails only while the agent comes down.
            let _ = self.live.pipeline.submit(vec![Update::NodeOptions(Some(options))]);
        }
        if let Some(kept) = now.packets_kept {
            self.live.packets.keep(kept as usize);
        }
    }

    fn awaiting(&self, effective: &Effective) -> Awaiting {
        let mut awaiting = Awaiting::default();
        for (name, running) in effective.settings.awaiting_start(&self.running) {
            awaiting.settings.push(name.to_owned());
            if let Origin::Object(object) = effective.origin(name) {
                let text = format!(
                    "{name} counts on node {} when its agent starts again; until then it is {running}",
                    self.node
                );
                awaiting.objects.entry(object).or_default().push(text);
            }
        }
        awaiting
    }

    /// Every setting with its value and where that comes from.
    pub fn report(&self) -> Vec<SettingReport> {
        let state = self.lock();
        let awaiting = state.effective.settings.awaiting_start(&self.running);
        state.effective.reports(|name| {
            let waits = awaiting.get(name);
            let waits = waits.map(|running| format!("until the agent starts again: {running}"));
            state.refused.get(name).cloned().or(waits)
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
