//! Where nodes agree on address blocks: a folder, or objects of the API server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use brindle_api::{IpamBlock, IpamBlockSpec};
use brindle_ipam::{FileStore, Record, Revision, Store, StoreError, WriteError};
use brindle_sources::kubernetes::Connection;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, ListParams, PostParams, Preconditions};
use serde_json::Value;

/// Longest wait for the API server. A CNI request has 30 s in all.
const ANSWER: Duration = Duration::from_secs(5);
/// Blocks in one page of the list.
const PAGE: u32 = 500;

/// A store of either kind.
#[derive(Clone)]
pub enum BlockStore {
    /// Files.
    Folder(Arc<FileStore>),
    /// `IPAMBlock` objects: a record's key is the object's name, its value the spec, its revision the
    /// `resourceVersion`, which the API server compares before it writes.
    ApiServer(Arc<Connection>),
}

impl BlockStore {
    /// Records in a folder, which is made if there is none.
    ///
    /// # Errors
    /// The folder cannot be made or used.
    pub fn folder(path: PathBuf) -> Result<Self, StoreError> {
        Ok(Self::Folder(Arc::new(FileStore::open(path)?)))
    }

    /// Records of an API server.
    pub fn api_server(connection: Arc<Connection>) -> Self {
        Self::ApiServer(connection)
    }

    /// Whether the store may be away for a while.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::ApiServer(_))
    }
}

impl Store for BlockStore {
    fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        let server = match self {
            Self::Folder(folder) => return folder.get(key),
            Self::ApiServer(server) => server,
        };
        let block = ask(server, async |blocks| blocks.get_opt(key).await);
        let block = block.map_err(|cause| failed(format!("read IPAMBlock {key}"), cause))?;
        block.map(record).transpose()
    }

    fn list(&self) -> Result<Vec<Record>, StoreError> {
        let server = match self {
            Self::Folder(folder) => return folder.list(),
            Self::ApiServer(server) => server,
        };
        let listed = ask(server, async |blocks| {
            let mut params = ListParams::default().limit(PAGE);
            let mut all = Vec::new();
            loop {
                let page = blocks.list(&params).await?;
                all.extend(page.items);
                match page.metadata.continue_.filter(|next| !next.is_empty()) {
                    Some(next) => params = params.continue_token(&next),
                    None => return Ok(all),
                }
            }
        });
        let listed = listed.map_err(|cause| {
            failed("list IPAMBlocks; are Brindle's CRDs installed?".to_owned(), cause)
        })?;
        let mut records = listed.into_iter().map(record).collect::<Result<Vec<_>, _>>()?;
        records.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(records)
    }

    fn create(&self, key: &str, value: &Value) -> Result<Revision, WriteError> {
        let server = match self {
            Self::Folder(folder) => return folder.create(key, value),
            Self::ApiServer(server) => server,
        };
        let block = block(key, None, value)?;
        let made = ask(server, async |blocks| blocks.create(&PostParams::default(), &block).await);
        Ok(revision(&made.map_err(|cause| refused("create", key, cause))?)?)
    }

    fn update(&self, key: &str, old: &Revision, value: &Value) -> Result<Revision, WriteError> {
        let server = match self {
            Self::Folder(folder) => return folder.update(key, old, value),
            Self::ApiServer(server) => server,
        };
        let block = block(key, Some(old), value)?;
        let params = PostParams::default();
        let made = ask(server, async |blocks| blocks.replace(key, &params, &block).await);
        Ok(revision(&made.map_err(|cause| refused("update", key, cause))?)?)
    }

    fn delete(&self, key: &str, old: &Revision) -> Result<(), WriteError> {
        let server = match self {
            Self::Folder(folder) => return folder.delete(key, old),
            Self::ApiServer(server) => server,
        };
        let preconditions = Preconditions { resource_version: Some(old.0.clone()), uid: None };
        let params = DeleteParams::default().preconditions(preconditions);
        let gone = ask(server, async |blocks| blocks.delete(key, &params).await.map(drop));
        gone.map_err(|cause| refused("delete", key, cause))
    }
}

/// A request did not bring an answer, or a bad one.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the API server did not answer within {} s", ANSWER.as_secs())]
    Silent,
    #[error("the API server answered {code}: {message}")]
    Refused { code: u16, message: String },
    #[error("the API server cannot be reached")]
    Client(#[source] kube::Error),
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                Self::Refused { code: status.code, message: status.message.trim().to_owned() }
            }
            other => Self::Client(other),
        }
    }
}

fn ask<T>(
    server: &Connection,
    request: impl AsyncFnOnce(Api<IpamBlock>) -> Result<T, kube::Error>,
) -> Result<T, Failure> {
    let blocks = Api::all(server.client().clone());
    server.block_on(async {
        let answer = tokio::time::timeout(ANSWER, request(blocks)).await;
        Ok(answer.map_err(|_| Failure::Silent)??)
    })
}

fn block(key: &str, old: Option<&Revision>, value: &Value) -> Result<IpamBlock, StoreError> {
    let spec: IpamBlockSpec = serde_json::from_value(value.clone())
        .map_err(|cause| StoreError::new(format!("{key} is no IPAMBlock"), cause))?;
    let metadata = ObjectMeta {
        name: Some(key.to_owned()),
        resource_version: old.map(|old| old.0.clone()),
        ..ObjectMeta::default()
    };
    Ok(IpamBlock { metadata, spec })
}

fn record(block: IpamBlock) -> Result<Record, StoreError> {
    let key = block.metadata.name.clone().unwrap_or_default();
    let value = serde_json::to_value(&block.spec)
        .map_err(|cause| StoreError::new(format!("cannot read IPAMBlock {key}"), cause))?;
    Ok(Record { revision: revision(&block)?, key, value })
}

fn revision(block: &IpamBlock) -> Result<Revision, StoreError> {
    let version = block.metadata.resource_version.clone();
    version.map(Revision).ok_or_else(|| {
        let name = block.metadata.name.as_deref().unwrap_or_default();
        StoreError::new(format!("IPAMBlock {name}"), "the API server gave no resourceVersion")
    })
}

/// A write that lost a race is a conflict: somebody made, changed or deleted the object before.
fn refused(operation: &str, key: &str, cause: Failure) -> WriteError {
    match &cause {
        Failure::Refused { code: 404 | 409, .. } => WriteError::Conflict,
        _ => WriteError::Store(failed(format!("{operation} IPAMBlock {key}"), cause)),
    }
}

fn failed(what: String, cause: Failure) -> StoreError {
    StoreError::new(format!("cannot {what}"), cause)
}
