//! The unix socket: a thread a connection, at most so many at once.
//!
//! ```text
//! accept thread ──> request thread … (bounded) ──> CniServer::serve
//! idle-block thread ──every minute──> CniServer::release_idle_blocks
//! ```

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use brindle_cni::error::{CniError, ErrorCode};
use brindle_cni::protocol::{Outcome, PROTOCOL_VERSION, Reply};
use brindle_cni::{ReadError, read_request, write_reply};
use brindle_ipam::Store;

use super::ports::{Pipeline, PodNetwork};
use super::{CniServer, try_again};

/// Stack of a request's thread, bytes.
const STACK: usize = 256 * 1024;
/// How long a plugin may take to send its request.
const READ_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a plugin may take to accept its reply.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// The socket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {}", path.display())]
pub struct ListenError {
    path: PathBuf,
    source: io::Error,
}

/// A server at work. Dropping it stops it without waiting for requests in progress.
pub struct Listener {
    shared: Arc<Shared>,
    socket: PathBuf,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopping: bool,
    /// Requests at work.
    active: usize,
}

impl Listener {
    /// Starts to serve. Only root may connect. A socket that an earlier agent left is replaced.
    ///
    /// # Errors
    /// The socket or a thread cannot be made.
    pub fn start<S, N, P>(server: Arc<CniServer<S, N, P>>) -> Result<Self, ListenError>
    where
        S: Store + 'static,
        N: PodNetwork,
        P: Pipeline,
    {
        let socket = server.config.socket.clone();
        let error = |source| ListenError { path: socket.clone(), source };
        let listener = bind(&socket).map_err(error)?;
        let shared = Arc::new(Shared::default());
        let accept = {
            let (server, shared) = (Arc::clone(&server), Arc::clone(&shared));
            spawn("cni-accept", move || accept(&listener, &server, &shared)).map_err(error)?
        };
        let idle_blocks = {
            let shared = Arc::clone(&shared);
            spawn("cni-blocks", move || release_idle_blocks(&server, &shared)).map_err(error)?
        };
        Ok(Self { shared, socket, threads: vec![accept, idle_blocks] })
    }

    /// Stops accepting, and waits for requests in progress. Returns whether all were done by the
    /// deadline.
    pub fn stop(mut self, deadline: Instant) -> bool {
        self.begin_stop();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the CNI server panicked");
            }
        }
        self.shared.wait_idle(deadline)
    }

    fn begin_stop(&self) {
        self.shared.lock().stopping = true;
        self.shared.changed.notify_all();
        // Wakes the accept thread; it fails only if that is gone.
        let _ = UnixStream::connect(&self.socket);
        // A plugin that comes now shall hear at once that nobody listens.
        let _ = fs::remove_file(&self.socket);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.begin_stop();
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_idle(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        while state.active > 0 {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            let woken = self.changed.wait_timeout(state, left);
            (state, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Waits out a pause; false when the server stops.
    fn pause(&self, pause: Duration) -> bool {
        let state = self.lock();
        let woken = self.changed.wait_timeout_while(state, pause, |state| !state.stopping);
        let (state, _) = woken.unwrap_or_else(PoisonError::into_inner);
        !state.stopping
    }
}

/// A place among the requests at work.
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>, max: usize) -> Option<Self> {
        let mut state = shared.lock();
        if state.active >= max {
            return None;
        }
        state.active += 1;
        Some(Self(Arc::clone(shared)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.lock().active -= 1;
        self.0.changed.notify_all();
    }
}

fn bind(socket: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = socket.parent() {
        fs::create_dir_all(parent)?;
    }
    // Nobody may connect before the mode is set, and at every moment somebody listens or nobody
    // ever did: made aside, then renamed into place.
    let aside = socket.with_extension("new");
    match fs::remove_file(&aside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&aside)?;
    fs::set_permissions(&aside, Permissions::from_mode(0o600))?;
    fs::rename(&aside, socket)?;
    Ok(listener)
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.to_owned()).stack_size(STACK).spawn(body)
}

fn accept<S, N, P>(listener: &UnixListener, server: &Arc<CniServer<S, N, P>>, shared: &Arc<Shared>)
where
    S: Store + 'static,
    N: PodNetwork,
    P: Pipeline,
{
    loop {
        let accepted = listener.accept();
        if shared.lock().stopping {
            return;
        }
        match accepted {
            Ok((stream, _)) => start_request(stream, server, shared),
            Err(error) => {
                // Out of descriptors, for instance: it does not help to ask again at once.
                tracing::warn!(%error, "cannot accept a CNI request");
                if !shared.pause(Duration::from_millis(100)) {
                    return;
                }
            }
        }
    }
}

fn start_request<S, N, P>(
    stream: UnixStream,
    server: &Arc<CniServer<S, N, P>>,
    shared: &Arc<Shared>,
) where
    S: Store + 'static,
    N: PodNetwork,
    P: Pipeline,
{
    let Some(place) = Place::take(shared, server.config.max_requests) else {
        let most = server.config.max_requests;
        let error = try_again(format!("the agent works on {most} CNI requests already"));
        return reply(&stream, Outcome::Failed(error));
    };
    let server = Arc::clone(server);
    let spawned = spawn("cni-request", move || {
        serve_connection(&stream, &server);
        drop(place);
    });
    if let Err(error) = spawned {
        // The plugin sees a closed connection, and tells its runtime to try again.
        tracing::warn!(%error, "no thread for a CNI request");
    }
}

fn serve_connection<S: Store, N: PodNetwork, P: Pipeline>(
    stream: &UnixStream,
    server: &CniServer<S, N, P>,
) {
    let begin = Instant::now();
    let outcome = match read_request(stream, READ_TIMEOUT) {
        Ok((envelope, netns)) => {
            let outcome = server.serve(&envelope, netns);
            log(&envelope.request, &outcome, begin.elapsed());
            outcome
        }
        Err(error) => {
            tracing::warn!(error = super::chain(&error), "unreadable CNI request");
            let code = match error {
                ReadError::Io(_) => ErrorCode::Io,
                ReadError::TooLong | ReadError::Decode(_) => ErrorCode::Internal,
            };
            Outcome::Failed(CniError::caused(code, "the agent cannot read the request", &error))
        }
    };
    reply(stream, outcome);
}

fn log(request: &brindle_cni::protocol::Request, outcome: &Outcome, took: Duration) {
    match outcome {
        Outcome::Failed(error) => tracing::warn!(?request, %error, ?took, "CNI request failed"),
        _ => tracing::debug!(?request, ?took, "CNI request done"),
    }
}

fn reply(stream: &UnixStream, outcome: Outcome) {
    let reply = Reply { version: PROTOCOL_VERSION, outcome };
    let sent = stream.set_write_timeout(Some(WRITE_TIMEOUT)).map_err(Into::into);
    if let Err(error) = sent.and_then(|()| write_reply(stream, &reply)) {
        // It has told its runtime to try again; the runtime's DEL comes.
        tracing::warn!(error = super::chain(&error), "the CNI plugin is gone");
    }
}

fn release_idle_blocks<S: Store, N: PodNetwork, P: Pipeline>(
    server: &CniServer<S, N, P>,
    shared: &Shared,
) {
    while shared.pause(server.config.idle_block_interval) {
        server.release_idle_blocks();
    }
}
