//! Where objects are read.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};
use brindle_sources::kubernetes::{self, Connection};
use brindle_sources::{directory, snapshot::Snapshot};

use crate::cli::{Origin, Server};
use crate::client::Client;

/// A place that has objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder.
    Folder(PathBuf),
    /// An API server: the one that a kubeconfig names, or that of the cluster this pod runs in.
    ApiServer(Option<PathBuf>),
}

impl Origin {
    /// The place that is meant: the one given, else where the agent reads. `KUBECONFIG` counts where
    /// no agent answers, or where it reads as a pod and this is none.
    ///
    /// # Errors
    /// Nothing says where objects are.
    pub fn place(&self, client: &Client) -> Result<Place> {
        if let Some(dir) = &self.dir {
            return Ok(Place::Folder(dir.clone()));
        }
        if let Some(kubeconfig) = &self.kubeconfig {
            return Ok(Place::ApiServer(Some(kubeconfig.clone())));
        }
        let environment = env::var_os("KUBECONFIG").filter(|path| !path.is_empty());
        let environment = environment.map(PathBuf::from);
        let status = match (crate::status::fetch(client), environment.clone()) {
            (Ok(status), _) => status,
            (Err(_), Some(path)) => return Ok(Place::ApiServer(Some(path))),
            (Err(error), None) => {
                return Err(error.context("give --dir or --kubeconfig to ask without an agent"));
            }
        };
        match status.source.split_once(':').unwrap_or((&status.source, "")) {
            ("dir", dir) => Ok(Place::Folder(dir.into())),
            ("kubernetes", "") => Ok(Place::ApiServer(environment)),
            ("kubernetes", kubeconfig) => Ok(Place::ApiServer(Some(kubeconfig.into()))),
            _ => bail!("the agent reads from {}; give --dir or --kubeconfig", status.source),
        }
    }
}

impl Place {
    /// Reads every object.
    ///
    /// # Errors
    /// The folder cannot be read, or the API server does not answer or refuses.
    pub fn read(&self) -> Result<Snapshot> {
        match self {
            Self::Folder(folder) => directory::read_once(folder)
                .with_context(|| format!("cannot read the folder {}", folder.display())),
            Self::ApiServer(kubeconfig) => {
                let connection = connection(kubeconfig.as_deref())?;
                Ok(kubernetes::read_once(&connection)?)
            }
        }
    }
}

impl Server {
    /// A client of the API server.
    ///
    /// # Errors
    /// Nothing says which it is, or its kubeconfig cannot be used.
    pub fn connection(&self) -> Result<Connection> {
        let named = self.kubeconfig.as_deref().filter(|path| !path.as_os_str().is_empty());
        connection(named)
    }
}

fn connection(kubeconfig: Option<&Path>) -> Result<Connection> {
    let connection = Connection::open(kubeconfig).map_err(Error::from);
    match kubeconfig {
        Some(_) => connection,
        None => connection.context("give --kubeconfig, or set KUBECONFIG"),
    }
}
