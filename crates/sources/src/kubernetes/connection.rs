//! The client of the API server, and the thread on which its I/O runs.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::{io, thread};

use kube::config::{Config, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Error};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Stack of the thread, bytes: JSON nests, and its reader recurses up to 128 levels.
const STACK: usize = 1024 * 1024;

/// A client and its thread. Dropping it ends both, and every watch with them.
pub struct Connection {
    client: Client,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// There is no way to speak with an API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be used.
    #[error("cannot use the kubeconfig {}", path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KubeconfigError,
    },
    /// This is no pod with a service account.
    #[error("not inside a cluster; name a kubeconfig, as in kubernetes:/etc/kubernetes/agent.conf")]
    InCluster(#[source] InClusterError),
    /// The certificates, keys or addresses in it make no client.
    #[error("cannot make a client of the API server")]
    Client(#[source] Error),
    /// No thread or descriptor is left.
    #[error("cannot start the thread of the API server's client")]
    Thread(#[source] io::Error),
}

impl Connection {
    /// Prepares to speak with the API server that a kubeconfig names, or without one with that of
    /// the cluster this pod runs in. Whether the server answers is not asked.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn open(kubeconfig: Option<&Path>) -> Result<Self, ConnectError> {
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(ConnectError::Thread)?;
        // The client starts tasks of its own.
        let client = runtime.block_on(async {
            let config = match kubeconfig {
                Some(path) => from_file(path).await?,
                None => Config::incluster().map_err(ConnectError::InCluster)?,
            };
            Client::try_from(config).map_err(ConnectError::Client)
        })?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("api".into())
            .stack_size(STACK)
            .spawn(move || {
                // An error says that the connection is gone, which is the same.
                let _ = runtime.block_on(stopped);
            })
            .map_err(ConnectError::Thread)?;
        Ok(Self { client, runtime: handle, stop: Some(stop), thread: Some(thread) })
    }

    /// The client, to be used in [`Self::block_on`].
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits for requests, on a thread that is not part of a runtime.
    pub fn block_on<F: Future>(&self, requests: F) -> F::Output {
        self.runtime.block_on(requests)
    }

    /// Runs a task on the client's thread, until the connection is dropped.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.stop.take();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the API server's client has panicked");
        }
    }
}

async fn from_file(path: &Path) -> Result<Config, ConnectError> {
    let failed = |source| ConnectError::Kubeconfig { path: path.to_owned(), source };
    let kubeconfig = Kubeconfig::read_from(path).map_err(failed)?;
    let options = KubeConfigOptions::default();
    Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(failed)
}
