//! An API server as the source of objects.
//!
//! ```text
//!  thread "api": one task a kind                       thread of the source
//!  ┌──────────────────────────────┐   bounded   ┌────────────────────────────────┐
//!  │ list, then watch, then again ├────────────>│ decode, convert, what is new?  ├──> Changes
//!  └──────────────────────────────┘   objects   └────────────────────────────────┘
//! ```
//! # What holds
//!
//! - An object is decoded, converted and judged by the same code as one in a folder. Nothing of its
//!   JSON is kept.
//! - The list of a kind comes as a stream (`sendInitialEvents`), or in pages from a server without
//!   that, so memory does not depend on the length of a list. A watch that ends goes on where it
//!   ended; only if the server has forgotten that place, the kind is listed again, and then what the
//!   list does not name is gone.
//! - [`Event::InSync`] comes when every kind has been listed once. A kind that the server does not
//!   have (its CRD is not installed) counts as listed, and is asked for again from time to time.
//! - While the server is away, everything stays as it was last told. It is called again with pauses
//!   that double up to half a minute and differ from node to node.
//!
//! The split: `connection` owns the client and its thread, `watch` speaks the protocol of lists and
//! watches, `store` knows objects and no I/O, `status` writes what became of them; `listed` reads
//! everything once.

mod connection;
mod listed;
mod resource;
mod status;
mod store;
pub mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;

use brindle_model::Name;
use tokio::sync::mpsc;

pub use connection::{ConnectError, Connection};
pub use listed::{ReadError, accepted, read_kinds, read_once};

use crate::event::{Event, Flow};
use crate::object::Kind;
use status::Board;
use store::Store;
use watch::{Message, Watch};

/// Messages that may wait for the source's thread. Each holds one object.
const QUEUE: usize = 256;

/// Every kind of one API server, followed.
#[derive(Debug)]
pub struct KubernetesSource {
    receiver: mpsc::Receiver<Message<Kind>>,
    sender: mpsc::Sender<Message<Kind>>,
    store: Store,
    /// Kinds that have not been listed.
    missing: BTreeSet<Kind>,
    node: Name,
    board: Arc<Board>,
}

/// Ends a running [`KubernetesSource`] from another thread.
#[derive(Debug)]
pub struct Control(mpsc::Sender<Message<Kind>>);

impl Control {
    /// Ends the source; [`KubernetesSource::run`] returns soon.
    pub fn stop(&self) {
        // It fails only if the source has ended.
        let _ = self.0.blocking_send(Message::Stop);
    }
}

impl KubernetesSource {
    /// Begins to follow every kind, and to write the status of Brindle's own objects when it is this
    /// node's turn. The tasks end with the connection or the source.
    pub fn start(connection: &Connection, node: Name) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        for kind in Kind::ALL {
            let listing = resource::listing(kind);
            let watch = Watch::new(connection.client().clone(), kind, listing, sender.clone());
            connection.spawn(watch.run());
        }
        let store = Store::default();
        let board = Arc::new(Board::default());
        let write = board.clone().write(connection.client().clone(), store.told().clone());
        connection.spawn(write);
        Self { receiver, sender, store, missing: Kind::ALL.into(), node, board }
    }

    /// A handle to end the source while [`Self::run`] runs.
    pub fn control(&self) -> Control {
        Control(self.sender.clone())
    }

    /// Tells what the API server has, then [`Event::InSync`], then every change, until `emit` breaks
    /// or a [`Control`] says so. Blocks; give it a thread of its own, outside any runtime.
    pub fn run(mut self, mut emit: impl FnMut(Event) -> Flow) {
        while let Some(first) = self.receiver.blocking_recv() {
            let queued = std::iter::from_fn(|| self.receiver.try_recv().ok()).take(QUEUE);
            for message in std::iter::once(first).chain(queued) {
                match message {
                    Message::Stop => return,
                    Message::Told(kind, told) => self.store.take(kind, told),
                }
            }
            let changes = self.store.flush();
            if self.missing.is_empty() {
                self.store.note(&changes, &self.node, &self.board);
            }
            if !changes.is_empty() && emit(Event::Changes(changes)).is_break() {
                return;
            }
            let waited = !self.missing.is_empty();
            self.missing.retain(|kind| !self.store.is_listed(*kind));
            if waited && self.missing.is_empty() {
                // Only now all nodes are known that share the writing.
                self.store.note_all(&self.node, &self.board);
                if emit(Event::InSync).is_break() {
                    return;
                }
            }
        }
    }
}
